"""`python -m inspector` is `epm-inspector`."""

import sys

from inspector.cli import main

sys.exit(main())

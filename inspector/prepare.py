"""`python -m inspector.prepare`: compile what is compiled and keep the code, so that nobody waits for it later."""

from __future__ import annotations

import logging
import sys
from typing import Final

from inspector import codecache, log

_LOG: Final = logging.getLogger(__name__)


def main() -> int:
    """Compile everything, unless it is there; return 0, 1 where there is no place to keep it."""
    if not codecache.has_compiler() or codecache.is_kept():
        return 0
    folder = codecache.place_to_keep()
    if folder is None:
        log.set_up()
        _LOG.info("compiled code can be kept nowhere: it is made whenever it is needed")
        return 1
    codecache.begin_to_make()
    # Only now: what these import is compiled here.
    from inspector import compiled, objectfile, rehearsal

    rehearsal.call_everything()
    objectfile.write(compiled.made, *codecache.names_in(folder))
    codecache.forget_others(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

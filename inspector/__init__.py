"""Inspector for the DCE/RPC endpoint mapper: finds answers that offer another address than the one that was asked."""

import os

# Nothing here is linear algebra: the threads which numpy's library would start for it only take memory, and would keep
# the capabilities that the process gives up. Read when numpy is imported.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

__version__ = "0.1.0"

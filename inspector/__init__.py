"""Inspector for the DCE/RPC endpoint mapper: finds answers that offer another address than the one that was asked."""

__version__ = "0.1.0"

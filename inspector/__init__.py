"""Inspector for the DCE/RPC endpoint mapper: which server address does a map response offer, and which was asked?"""

__version__ = "0.1.0"

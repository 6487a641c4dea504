"""Packets of mismatching conversations: held for some seconds, then kept as capture files within a quota."""

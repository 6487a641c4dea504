"""Independent decoders read the same bytes: tshark, impacket, and Samba's NDR bindings."""

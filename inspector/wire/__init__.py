"""Sans-IO decoding: bytes in, values out; no socket, file or clock."""

"""Builders of towers, stubs, PDUs, connections and frames, written against the specifications and not the decoder."""

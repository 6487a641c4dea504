"""Capture files inspected one after the other or by several processes."""

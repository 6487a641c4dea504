"""Hints to the processor, which do nothing in Python. `hints.pxd` has what they are in C."""

from __future__ import annotations


def fetch(_address: object) -> None:
    """Ask for the cache line of an address that is read soon."""


def load(_address: object) -> int:
    """Read eight bytes in the machine's order, wherever they stand."""
    raise NotImplementedError


def copy(_to: object, _source: object, _count: int) -> None:
    """Copy bytes."""
    raise NotImplementedError


def load_long(_address: object) -> int:
    """Read four bytes in the machine's order, wherever they stand."""
    raise NotImplementedError

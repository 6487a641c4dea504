"""Whether there can be compiled code."""

from __future__ import annotations

import mmap

import pytest

from inspector import codecache


def test_where_new_code_is_forbidden_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """SELinux or a service's limits may refuse memory which can be written and executed: then no compiler is loaded."""
    codecache.has_compiler.cache_clear()
    assert codecache.has_compiler()
    asked = []

    def refuse(_descriptor: int, _length: int, *, prot: int) -> mmap.mmap:
        asked.append(prot)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(mmap, "mmap", refuse)
    codecache.has_compiler.cache_clear()
    assert not codecache.has_compiler()
    assert asked == [mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC]
    codecache.has_compiler.cache_clear()

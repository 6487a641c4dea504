"""Reading ahead: order, errors, how much is there at once, and that the thread ends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from inspector.reading.ahead import read_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator


def threads() -> list[threading.Thread]:
    """Return the threads that read ahead."""
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_all_in_order() -> None:
    """What the iterator yields comes, in its order, and the thread has ended then."""
    assert list(read_ahead(iter(range(1000)), 3)) == list(range(1000))
    assert list(read_ahead(iter(()), 3)) == []
    assert threads() == []


def test_another_thread_makes_them() -> None:
    """The iterator runs beside the one who uses what it yields."""
    made_by = set(read_ahead((threading.current_thread() for _ in range(3)), 2))
    assert len(made_by) == 1
    assert threading.current_thread() not in made_by


def test_an_error_comes_after_what_was_before_it() -> None:
    """An exception is raised where the items are used, and nothing before it is lost."""

    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("damaged")

    items = read_ahead(failing(), 5)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="damaged"):
        next(items)
    assert threads() == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_more_at_once_than_said(count: int) -> None:
    """An item is begun only when fewer than `count` are there, the one in use among them: memory may be used again."""
    begun: list[int] = []
    wanted = threading.Semaphore(0)

    def noting() -> Iterator[int]:
        for number in range(10):
            begun.append(number)
            wanted.release()
            yield number

    for number in read_ahead(noting(), count):
        # All that may be begun is begun, sooner or later; nothing more ever is.
        while len(begun) < min(number + count, 10):
            assert wanted.acquire(timeout=30)
        assert len(begun) == min(number + count, 10)


def test_closing_ends_the_thread() -> None:
    """Whoever stops early leaves no thread behind, and no item is made any more."""
    begun: list[int] = []

    def noting() -> Iterator[int]:
        for number in range(10**9):
            begun.append(number)
            yield number

    items = read_ahead(noting(), 3)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]  # it is a generator
    assert threads() == []
    assert len(begun) <= 3

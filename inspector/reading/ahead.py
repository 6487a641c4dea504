"""Reading ahead: what an iterator yields is made by another thread while this one is busy with what came before."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    Item = TypeVar("Item")

_END: Final = StopIteration()


def read_ahead(items: Iterator[Item], count: int) -> Iterator[Item]:
    """Yield what another iterator yields; at most `count` items are there at once, the one in use and one being made.

    What the iterator raises comes after all that it yielded before. It is run in a thread of its own, which has
    ended when this iterator is exhausted or closed.
    """
    made: queue.SimpleQueue[tuple[Item, None] | tuple[None, BaseException]] = queue.SimpleQueue()
    room = threading.Semaphore(count)
    stopped = threading.Event()

    def work() -> None:
        error: BaseException = _END
        try:
            while room.acquire() and not stopped.is_set():
                made.put((next(items), None))
        except BaseException as raised:  # noqa: BLE001 - it is raised where the items are used
            error = raised
        made.put((None, error))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # there is no error, so there is an item
            room.release()
    finally:
        stopped.set()
        room.release()
        thread.join()

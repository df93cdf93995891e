"""Work on several threads that is done before it is asked for, a bounded number of items ahead, and given in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    most: int,
    start: Callable[[], None] = lambda: None,
) -> Generator[Result]:
    """`map`, by several threads.

    Closing the iterator, or an error, ends it: items that no thread has begun are left, and those begun are waited for.

    >>> list(ahead(str.upper, "abc", workers=2, most=2))
    ['A', 'B', 'C']

    Args:
        work: done to each item; with one worker in the calling thread, and nothing ahead.
        items: taken one after another in the calling thread.
        workers: threads.
        most: items that are begun or waiting, and results that are not yet asked for, at most.
        start: called first in each thread.

    Yields:
        The results, in the order of the items. What `work` raises comes where its result would, and what `items` raises
        after the results of those before.
    """
    if workers == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(workers, "ahead", start)
    waiting: deque[Future[Result]] = deque()
    failed: list[Exception] = []
    try:
        for item in _until_failed(items, failed):
            waiting.append(pool.submit(work, item))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
    if failed:
        raise failed.pop()


def batches(items: Iterable[Item], size: int) -> Generator[list[Item]]:
    """Items, `size` at a time and the rest; what `items` raises comes after those before it.

    >>> list(batches("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    failed: list[Exception] = []
    sound = _until_failed(items, failed)
    while batch := list(islice(sound, size)):
        yield batch
    if failed:
        raise failed.pop()


def _until_failed(items: Iterable[Item], failed: list[Exception]) -> Generator[Item]:
    """The items, up to where they raise something, which is put into `failed`."""
    try:
        yield from items
    except Exception as error:
        failed.append(error)

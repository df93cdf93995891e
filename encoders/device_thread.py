"""One thread for each device, in which all texts are encoded there.

A processor's products are shared out among helper threads, and every thread that calls torch gets helpers of its own
from OpenMP. Helpers stand ready between two products, but only while a process has no more threads of this kind than
processors: as soon as a second thread has called torch, all fall asleep after each product, and encoding took 5 to 15 %
longer. So what loads a network ends with its thread, and what encodes is one thread, whoever calls.
"""

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def in_thread_of(device: str, work: Callable[[], Result]) -> Result:
    """Do something in a device's thread, after what others have it do, and wait for it; not from that thread itself."""
    return _thread_of(device).submit(work).result()


def in_passing_thread(work: Callable[[], Result]) -> Result:
    """Do something in a thread that ends with it, as its helpers do; Ctrl-C does not wait for it."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised where it is waited for
            future.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        return future.result()
    finally:
        if future.done():
            thread.join()


_making = threading.Lock()
"""Held while a thread is looked for, so that callers that are first together do not make one each."""


def _thread_of(device: str) -> ThreadPoolExecutor:
    with _making:
        return _made(device)


@functools.cache
def _made(device: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix=f"texts on {device}")


def _forget_threads() -> None:
    """In a child, which has none of its parent's threads."""
    _made.cache_clear()
    _making.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_making.acquire, after_in_parent=_making.release, after_in_child=_forget_threads
    )  # whoever forks holds it, so that no child finds it held by a thread that it has not

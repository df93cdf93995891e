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


@functools.cache
def _thread_of(device: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix=f"texts on {device}")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_thread_of.cache_clear)  # a child has none of its parent's threads

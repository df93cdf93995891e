"""On how many threads a picture is computed."""

import functools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController
from torch import nn

from encoders.device_memory import enough_for
from encoders.together import Together

SMALL = 10_000_000
"""Parameters of all networks together up to which one picture does not keep several threads busy."""


class PictureThreads:
    """Several pictures at a time with one thread each, or one picture at a time with all threads.

    Small networks gain little from a second thread, and what comes before and after them gains nothing; two pictures
    side by side gain more. Large networks use all threads by themselves, and so does another device than the processor.

    Networks round differently on one thread than on two, so small ones always run on one, even for a single picture:
    its labels do not depend on the pictures beside it, nor on the machine's number of processors.

    Attributes:
        workers: pictures to see at a time.
    """

    workers: int

    def __init__(self, networks: Iterable[nn.Module], device: str) -> None:
        """Looks at what shall see pictures, and at the machine.

        Args:
            networks: all of them; one that is named twice counts once.
            device: where they are.
        """
        weights = {id(weight): weight.numel() for network in networks for weight in network.parameters()}
        self._device = device
        self._small = device == "cpu" and sum(weights.values()) <= SMALL
        self._threads = torch.get_num_threads()
        self.workers = processors() if self._small else 1

    def start(self) -> None:
        """To be called once in every thread that sees pictures beside the main one.

        torch's setting is each thread's own, and a new thread begins with the one that was made last, anywhere.
        """
        torch.set_num_threads(self._threads)

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Inside, the calling thread's small networks run on one thread, and NumPy's products in all threads do.

        OpenBLAS keeps its threads waiting for the next product, which takes time from whatever else would run there.

        Raises:
            EncoderError: a GPU's memory does not hold what a picture needs.
        """
        before = torch.get_num_threads()
        if self._small:
            torch.set_num_threads(1)
        try:
            with _products, enough_for("this picture", self._device, "give a smaller --short-side, or --device cpu"):
                yield
        finally:
            if self._small:
                torch.set_num_threads(before)


def processors() -> int:
    """Processors that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_controller = functools.cache(ThreadpoolController)
"""Looks through the loaded libraries, once."""

_products = Together(lambda: _controller().limit(limits=1, user_api="blas"))
"""NumPy's matrix products run on one thread while at least one thread of the process is inside."""

"""What is done where the memory of a GPU does not hold what is to be computed: less at once, or a line that says so."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from encoders.errors import EncoderError

FULL = "out of memory", "ALLOC_FAILED"
"""What all of torch's devices say, in errors of several kinds, and what NVIDIA's libraries say."""


def tried(work: Callable[[], Tensor]) -> Tensor | None:
    """What comes out; None where a GPU's memory is full, and by then all that was taken is given back."""
    try:
        return work()
    except RuntimeError as error:
        if not _is_full(error):
            raise
    return None


def in_parts(
    encode: Callable[[NDArray[np.int64]], Tensor], rows: NDArray[np.int64], device: str
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Rows that a device's memory does not hold together: one half after the other, and halves of these.

    Raises:
        EncoderError: it does not hold one.
    """
    if len(rows) < 2:
        raise EncoderError(f"the memory of {device} does not hold a single caption; use another GPU, or --device cpu")
    for half in np.array_split(rows, 2):
        encoded = tried(partial(encode, half))
        if encoded is None:
            yield from in_parts(encode, half, device)
        else:
            yield half, encoded


@contextmanager
def enough_for(what: str, device: object, otherwise: str) -> Iterator[None]:
    """Say what a device's memory does not hold.

    Raises:
        EncoderError: it was full.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_full(error):
            raise
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise EncoderError(f"the memory of {device} does not hold {what}: {reason}; {otherwise}") from error


def _is_full(error: RuntimeError) -> bool:
    return any(mark in str(error) for mark in FULL)

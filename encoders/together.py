"""Settings of the whole process, of which several threads want the same one for a while. No torch here."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager


class Together:
    """A context that threads share: the first to come enters it, the last to go leaves it.

    A thread that noted the setting which another one had made, and put it back at its end, would leave it for good.

    >>> from contextlib import nullcontext
    >>> made = []
    >>> together = Together(lambda: made.append(1) or nullcontext())
    >>> with together, together:
    ...     len(made)
    1
    """

    def __init__(self, make: Callable[[], AbstractContextManager[object]]) -> None:
        """Takes what makes a context; it is called by each first one to come."""
        self._make = make
        self._lock = threading.Lock()
        self._inside = 0
        self._context: AbstractContextManager[object]

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._context = self._make()
                self._context.__enter__()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._context.__exit__(None, None, None)

"""The memory of a process and of everything that it started, while it runs."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 0.5


class PeakMemory:
    """The highest memory of a process and its descendants together, looked at twice a second.

    Pages that several of them share count once for each, so the sum is an upper bound.

    Attributes:
        megabytes: the highest sum of resident memory, pages of mapped files included.
        anonymous: the highest sum without pages of mapped files, which the system may drop at any time.
    """

    def __init__(self, process: int | None = None) -> None:
        self.megabytes = self.anonymous = 0.0
        self._process = process or os.getpid()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_LOOKS):
            found = [_resident(process) for process in descendants(self._process)]
            self.megabytes = max(self.megabytes, sum(resident for resident, _ in found))
            self.anonymous = max(self.anonymous, sum(anonymous for _, anonymous in found))


def descendants(process: int) -> Iterator[int]:
    """A process and everything that it, or what it started, started."""
    yield process
    for threads in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = threads.read_text().split()
        except OSError:  # ended in the meantime
            continue
        for child in children:
            yield from descendants(int(child))


def _resident(process: int) -> tuple[float, float]:
    """Resident memory of a process and its anonymous part, MB; nothing of one that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1e3 for line in lines if line.startswith(("VmRSS", "RssAnon"))}
    return sizes.get("VmRSS", 0.0), sizes.get("RssAnon", 0.0)

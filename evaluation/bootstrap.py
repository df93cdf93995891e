"""A paired bootstrap over pictures: by how much more than chance one run is better than another.

Pictures are drawn anew with replacement, the same ones for both runs (Efron and Tibshirani, *An Introduction to the
Bootstrap*, 1993, chapters 13 and 16): the confusions of the drawn pictures are added up, each run gets the mIoU of that
sum, over the classes that occur in its ground truth, and the interval holds the middle 95 % of the differences. It says
how the difference would vary over other pictures of the same kind; it says nothing of other seeds or other mappings.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from evaluation.scores import Cells

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

_CHUNK = 256  # resamples at a time, so that memory does not grow with their number


@dataclass(frozen=True)
class Difference:
    """How two runs differ in mIoU, each 0 to 1.

    Attributes:
        first: mIoU of run A over all pictures.
        second: mIoU of run B.
        low: lower end of the interval of B - A.
        high: upper end.
        confidence: how much of the resampled differences the interval holds, 0 to 1.
        better: the share of resamples in which B is better than A, half of the equal ones with it.
        pictures: how many pictures were compared.
        resamples: how often they were drawn anew.
    """

    first: float
    second: float
    low: float
    high: float
    confidence: float
    better: float
    pictures: int
    resamples: int

    @property
    def difference(self) -> float:
        """B - A over all pictures, -1 to 1."""
        return self.second - self.first

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class Sums:
    """What IoUs are made of, for every picture and class.

    Attributes:
        hits: float64 [P, C], pixels of a class that were said to be it.
        stood: float64 [P, C], its pixels.
        said: float64 [P, C], pixels that were said to be it.
    """

    hits: Floats
    stood: Floats
    said: Floats

    @classmethod
    def of(cls, counts: Counts) -> "Sums":
        """From the confusions of pictures, int64 [P, C, C + 1].

        Raises:
            ValueError: they are of another shape.
        """
        if counts.ndim != 3 or counts.shape[2] != counts.shape[1] + 1:
            raise ValueError(f"confusions are [P, C, C + 1], found {list(counts.shape)}")
        hits = np.diagonal(counts, axis1=1, axis2=2)
        return cls(*(part.astype(np.float64) for part in (hits, counts.sum(axis=2), counts[:, :, :-1].sum(axis=1))))

    @classmethod
    def of_cells(cls, cells: "Cells", pictures: int, classes: int) -> "Sums":
        """The same from their cells that are not zero."""
        sums = np.zeros((3, pictures, classes + 1))
        hit = cells.truth == cells.said
        np.add.at(sums[0], (cells.picture[hit], cells.truth[hit]), cells.pixels[hit])
        np.add.at(sums[1], (cells.picture, cells.truth), cells.pixels)
        np.add.at(sums[2], (cells.picture, cells.said), cells.pixels)
        return cls(*sums[:, :, :-1])

    def mean_ious(self, times: Floats) -> Floats:
        """The mIoU of pictures that occur several times or not at all: float64 [R]; 0 where no class occurs.

        Args:
            times: float64 [R, P], how often each picture occurs, for each of R resamples.
        """
        hits, stood, said = times @ self.hits, times @ self.stood, times @ self.said  # whole numbers: exact
        occurs = stood > 0
        ious = np.divide(hits, stood + said - hits, out=np.zeros_like(hits), where=occurs)
        means: Floats = ious.sum(axis=1) / np.maximum(occurs.sum(axis=1), 1)
        return means


def compare(
    first: Counts, second: Counts, *, resamples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> Difference:
    """Compare two runs picture by picture.

    Args:
        first: int64 [P, C, C + 1], the confusion of every picture in run A: row = ground truth, column = what was
            said, the last one for unknown.
        second: the same of run B, the same pictures in the same order, with the same ground truth.
        resamples: how often the pictures are drawn anew.
        confidence: how much of the differences the interval holds, between 0 and 1.
        seed: of the drawing; the same seed gives the same interval.

    Raises:
        ValueError: the two are not confusions of the same pictures and the same ground truth, or there is none.

    >>> right, wrong = np.array([[[2, 0, 0], [0, 2, 0]]] * 3), np.array([[[2, 0, 0], [2, 0, 0]]] * 3)
    >>> found = compare(wrong, right, resamples=100)
    >>> found.first, found.second, found.low, found.high, found.better
    (0.25, 1.0, 0.75, 0.75, 1.0)
    """
    return compare_sums(Sums.of(first), Sums.of(second), resamples=resamples, confidence=confidence, seed=seed)


def compare_sums(
    first: Sums, second: Sums, *, resamples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> Difference:
    """The same from sums; see `compare`."""
    _require_pairs(first, second)
    if not (0 < confidence < 1 and resamples > 0):
        raise ValueError(f"confidence is between 0 and 1 and resamples are at least 1, not {confidence}, {resamples}")
    pictures = len(first.stood)
    differences = np.empty(resamples)
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        times = _draw(generator, pictures, min(_CHUNK, resamples - start))
        differences[start : start + len(times)] = second.mean_ious(times) - first.mean_ious(times)
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    once = np.ones((1, pictures))
    return Difference(
        first=float(first.mean_ious(once)[0]),
        second=float(second.mean_ious(once)[0]),
        low=float(low),
        high=float(high),
        confidence=confidence,
        better=float(np.mean(differences > 0) + np.mean(differences == 0) / 2),
        pictures=pictures,
        resamples=resamples,
    )


def _require_pairs(first: Sums, second: Sums) -> None:
    shapes = list(first.stood.shape), list(second.stood.shape)
    if shapes[0] != shapes[1]:
        raise ValueError(f"run A has pictures and classes {shapes[0]}, run B {shapes[1]}; expected the same")
    differ = (first.stood != second.stood).any(axis=1)
    if differ.any():
        at = int(np.argmax(differ))
        raise ValueError(f"picture {at} has another ground truth in run B than in run A; score both in the same way")
    if not first.stood.any():
        raise ValueError(f"there is no pixel with a class in {len(first.stood)} pictures")


def _draw(generator: np.random.Generator, pictures: int, resamples: int) -> Floats:
    """How often each picture is drawn in each resample: float64 [R, P], rows sum to P."""
    chosen = generator.integers(pictures, size=(resamples, pictures))
    rows = np.arange(resamples)[:, None] * pictures
    counts = np.bincount((chosen + rows).ravel(), minlength=resamples * pictures)
    return counts.reshape(resamples, pictures).astype(np.float64)

"""The lists: made, added to, written. One FAISS file, ids are rows; `scan` looks into it where it lies on the disk.

Vectors are turned onto the principal directions of a sample, and every value is stored with 4 bits. The first quarter
of the directions, in which most of the variance lies, is what the lists hold (FAISS's `IndexIVFScalarQuantizer`); all
directions of each row stand behind them, by row (`IndexScalarQuantizer`), for the rows that look good by the first. To
FAISS it is an `IndexRefine` of the two.

Sixteen steps are few for a direction in which queries lie far out, as that of the gap between pictures and texts: what
is rounded there would decide. So it stands among the values in several copies, whose steps begin where those of the
others are in between, each with a part of its length, instead of the directions that matter least.

Lists are many and short. k-means takes them in two steps, first the square root of their number, then that many in each
of these, from a sample; and all rows move them once, to where the rows that are nearest to each have their mean.

While an index is made, its lists are in memory, and the values by row are in a file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from build_index.search_index.options import first_directions
from build_index.search_index.queries import gap_queries
from build_index.search_index.stored import ROWS_PER_BLOCK, StoredVectors
from build_index.search_index.written import Waiting, write_refined

BITS, KIND = 4, faiss.ScalarQuantizer.QT_4bit
"""How values are stored. With 8 bits, 48 candidates of 750,000 synthetic rows held 99.9 % of the true neighbours of
queries across the gap, with 4 bits 99.4; of 755,757 real captions 98.4 and 94.9, and 128 of them 99.9 and 99.6."""

WIDE = 4.0
"""Standard deviations from the mean beyond which values are cut off. Of the same real captions 48 candidates held
91.5 % of the true neighbours without a limit and 89.0 with 3.6, of the synthetic ones 99.2 and 99.6."""

COPIES = 4
"""Of a direction at most. With queries rounded as well, 32 candidates of the same real captions held 78.6 % of the true
neighbours without copies, 94.2 with at most 4, 93.6 with 16; of the synthetic ones 97.5 and 98.8."""

QUERIES = 512
"""From so many is learned how far out queries lie."""

SAMPLE_ROWS = 20
"""Rows that k-means sees for each centroid, drawn from all parts."""

LEAST_SAMPLE = 16_384
"""Rows that k-means sees at least, and from which directions are learned."""

AT_ONCE = 256
"""So many centroids are found in one step."""

ITERATIONS = 10

SEED = 0

FACTOR_FOR_OTHERS = 100
"""Candidates for each row wanted, for readers that search with FAISS alone."""

CELLS = 8
"""Where centroids are many, a row's nearest is looked for in so many of the groups that they form."""


@dataclass(frozen=True, eq=False)
class Lists:
    """A FAISS index of lists and of all values behind them, taken apart.

    Attributes:
        whole: what is written to the disk.
        lists: those of the first directions, faiss.IndexIVFScalarQuantizer.
        values: all directions of every row, faiss.IndexScalarQuantizer; codes wait elsewhere while an index is made.
        front: float32 [first, d], the directions of the lists, orthonormal.
        basis: float32 [kept, d], those of the values: a direction that stands in k copies has a length of 1 / sqrt(k)
            in each; first every direction once, then the other copies.
        waiting: the codes of the values of an index that is made.
    """

    whole: faiss.IndexRefine
    lists: Any  # of which the stubs do not know every method
    values: Any
    front: NDArray[np.float32]
    basis: NDArray[np.float32]
    waiting: Waiting | None = None

    @classmethod
    def of(cls, whole: faiss.Index) -> "Lists":
        """Take apart what was read; no rows can be added.

        Raises:
            ValueError: it is another kind of index.
        """
        if not isinstance(whole, faiss.IndexRefine):
            raise ValueError(f"expected lists with all values behind them, found {type(whole).__name__}")
        first, lists = _turned(whole.base_index)
        basis, values = _turned(whole.refine_index)
        if not isinstance(lists, faiss.IndexIVFScalarQuantizer):
            raise ValueError(f"expected lists of 4-bit values, found {type(lists).__name__}")
        if not isinstance(values, faiss.IndexScalarQuantizer):
            raise ValueError(f"expected 4-bit values by row, found {type(values).__name__}")
        if {lists.sq.qtype, values.sq.qtype} != {KIND}:
            raise ValueError("expected values of 4 bits, found others, as earlier versions made them")
        if not np.allclose(first, unit(basis[: len(first)]), atol=1e-5) or values.ntotal != lists.ntotal:
            raise ValueError("expected lists of the first directions of the values by row")
        return cls(whole, lists, values, first, basis)

    @classmethod
    def empty(
        cls, basis: NDArray[np.float32], centroids: NDArray[np.float32], ranges: NDArray[np.float32], folder: Path
    ) -> "Lists":
        """Lists without rows.

        Args:
            basis: float32 [kept, d], as values have it.
            centroids: float32 [lists, first], the first directions.
            ranges: float32 [2, kept], the lowest value that 4 bits can say, and how far the highest lies above it.
            folder: where values wait until they are written.
        """
        (kept, _), (count, first) = basis.shape, centroids.shape
        product = faiss.METRIC_INNER_PRODUCT
        quantizer = faiss.IndexFlatIP(first)
        quantizer.add(centroids)
        lists = faiss.IndexIVFScalarQuantizer(quantizer, first, count, KIND, product)
        lists.by_residual = False
        values = faiss.IndexScalarQuantizer(kept, KIND, product)
        front, lengths = unit(basis[:first]), np.linalg.norm(basis[:first], axis=1)
        for index, some in ((lists, ranges[:, :first] / lengths), (values, ranges)):
            faiss.copy_array_to_vector(some.ravel(), index.sq.trained)
            index.is_trained = True
        base = faiss.IndexPreTransform(_transform(front), lists)
        whole = faiss.IndexRefine(base, faiss.IndexPreTransform(_transform(basis), values))
        whole.k_factor = FACTOR_FOR_OTHERS
        return cls(whole, lists, values, front, basis, Waiting(folder, values.code_size))

    def growing(self, folder: Path) -> "Lists":
        """The same rows, as an index that is made: others can be added.

        Args:
            folder: where values wait until they are written.
        """
        grown, codes = Lists.empty(self.basis, self.centroids(), self.ranges(), folder), self.codes()
        assert grown.waiting is not None
        for start in range(0, len(codes), ROWS_PER_BLOCK):
            grown.waiting.add(codes[start : start + ROWS_PER_BLOCK])
        ids = faiss.InvertedLists.SUBSET_TYPE_ID_RANGE  # type: ignore[attr-defined]  # in no stub
        self.lists.invlists.copy_subset_to(grown.lists.invlists, ids, 0, len(codes))
        grown.lists.ntotal = len(codes)
        return grown

    @property
    def count(self) -> int:
        """Lists."""
        return self.lists.nlist

    def centroids(self) -> NDArray[np.float32]:
        """float32 [lists, first]."""
        return self.lists.quantizer.reconstruct_n(0, self.count)

    @property
    def copies(self) -> NDArray[np.int64]:
        """In how many copies the direction of each value stands: int64 [kept]."""
        return np.rint(1 / np.square(self.basis).sum(axis=1)).astype(np.int64)

    def ranges(self) -> NDArray[np.float32]:
        """What 4 bits can say in every direction, the lowest value and how far the highest lies above it: [2, kept]."""
        return faiss.vector_to_array(self.values.sq.trained).reshape(2, len(self.basis))

    def codes(self) -> NDArray[np.uint8]:
        """All values where they lie, two in a byte: uint8 [rows, (kept + 1) // 2]."""
        rows, width = self.values.ntotal, self.values.code_size
        if self.waiting is not None:
            return self.waiting.mapped()
        if not rows:
            return np.zeros((0, width), np.uint8)
        codes: NDArray[np.uint8] = faiss.rev_swig_ptr(self.values.codes.data(), rows * width).reshape(rows, width)
        return codes

    def add(self, vectors: StoredVectors) -> None:
        """Put every row into a list that is in none yet."""
        assert self.waiting is not None, "lists that were read"
        nearest = nearest_of(self.centroids())
        for start, block in vectors.blocks(self.lists.ntotal):
            turned, front = (np.ascontiguousarray(block @ some.T) for some in (self.basis, self.front))
            rows, places = np.arange(start, start + len(block)), nearest(front)
            self.lists.add_core(len(block), *(faiss.swig_ptr(each) for each in (front, rows, places)))
            self.waiting.add(self.values.sa_encode(turned))
        for each in (self.whole, self.whole.base_index, self.whole.refine_index, self.values):
            each.ntotal = self.lists.ntotal

    def write(self, path: Path) -> None:
        """Write the file of an index that was made."""
        assert self.waiting is not None, "lists that were read"
        write_refined(self.whole, self.waiting, path)


def _turned(index: faiss.Index) -> tuple[NDArray[np.float32], Any]:
    """The basis of a change of basis, and what stands behind it."""
    changed = faiss.downcast_index(index)
    chain: Any = getattr(changed, "chain", None)  # a vector of C++
    if not isinstance(changed, faiss.IndexPreTransform) or chain.size() != 1:
        raise ValueError(f"expected one change of basis, found {type(changed).__name__}")
    transform = faiss.downcast_VectorTransform(chain.at(0))
    if not isinstance(transform, faiss.LinearTransform) or transform.have_bias:
        raise ValueError(f"expected a linear map without bias, found {type(transform).__name__}")
    basis = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
    return basis, faiss.downcast_index(changed.index)


def _transform(basis: NDArray[np.float32]) -> faiss.LinearTransform:
    kept, dimension = basis.shape
    transform = faiss.LinearTransform(dimension, kept, False)  # noqa: FBT003
    faiss.copy_array_to_vector(basis.ravel(), transform.A)
    transform.is_trained = True
    return transform


def train(vectors: StoredVectors, rows: NDArray[np.int64], count: int, kept: int, folder: Path) -> Lists:
    """Learn directions, centroids and ranges of values; the lists are empty.

    Args:
        vectors: all of them.
        rows: int64 [n], the sample to learn from.
        count: lists.
        kept: directions.
        folder: where values wait until they are written.
    """
    some = np.random.Generator(np.random.PCG64(SEED)).permutation(len(rows))[:LEAST_SAMPLE]
    sample = vectors.take(rows[np.sort(some)])
    basis, ranges = values_of(sample, gap_queries(vectors, rows[np.sort(some[:QUERIES])], SEED), kept)
    front = unit(basis[: first_directions(kept)])
    pieces = (vectors.take(rows[start : start + LEAST_SAMPLE]) for start in range(0, len(rows), LEAST_SAMPLE))
    centroids = centroids_of(np.concatenate([piece @ front.T for piece in pieces]), count)
    return Lists.empty(basis, moved(centroids, vectors, front), ranges, folder)


def values_of(
    sample: NDArray[np.float32], queries: NDArray[np.float32], kept: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Directions of the values, and what 4 bits can say in each.

    Args:
        sample: float32 [n, d], rows.
        queries: float32 [q, d], as pictures make them.
        kept: how many values there are.

    Returns:
        The basis, float32 [kept, d], and the ranges, [2, kept], as `Lists.empty` takes them. FAISS's highest code would
        stand for the highest value alone; here all codes are equally wide.
    """
    directions = principal_directions(sample, kept)
    turned, weights = sample @ directions.T, np.square(queries @ directions.T).mean(axis=0)
    low, high = turned.min(axis=0), turned.max(axis=0)
    copies = copies_of(weights * np.square(high - low) / 12 / 4**BITS, weights * np.square(turned).mean(axis=0))
    count, once = len(copies), copies == 1
    mean, far = turned.mean(axis=0)[:count], WIDE * turned.std(axis=0)[:count]
    low, high = (
        np.where(once, near, all_[:count])
        for near, all_ in ((np.maximum(low[:count], mean - far), low), (np.minimum(high[:count], mean + far), high))
    )
    steps = (high - low) / (2**BITS - (copies > 1))  # a step more, for copies begin before the lowest value
    number = np.concatenate([np.arange(count), np.repeat(np.arange(count), copies - 1)])
    copy = np.concatenate([np.zeros(count), *(np.arange(1, each) for each in copies)])
    length = np.sqrt(copies[number])
    begin = low[number] - copy * steps[number] / copies[number]
    ranges = np.stack([begin / length, (2**BITS - 1) * steps[number] / length]).astype(np.float32)
    return (directions[number] / length[:, None]).astype(np.float32), ranges


def copies_of(rounded: NDArray[np.float32], all_: NDArray[np.float32]) -> NDArray[np.int64]:
    """In how many copies directions stand, of which the last ones give way as long as that helps.

    Args:
        rounded: [kept], what rounding the values of each adds to the variance of products; a k^2-th of it in k copies.
        all_: [kept], what each adds to the square of products.

    Returns:
        int64 [n], n <= kept, which sum to kept; `COPIES` at most.
    """
    copies = np.ones(len(rounded), np.int64)
    least = first_directions(len(rounded))
    while len(copies) > least:
        gain = rounded[: len(copies)] * (1 / copies**2 - 1 / (copies + 1) ** 2) * (copies < COPIES)
        best = int(gain[:-1].argmax())
        if gain[best] <= all_[len(copies) - 1] or copies[-1] > 1:
            break
        copies[best] += 1
        copies = copies[:-1]
    return copies


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length 1: float32 [n, d]."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def centroids_of(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """By k-means, in two steps where they are many: float32 [n, d] -> [count, d]."""
    if count <= AT_ONCE:
        return _kmeans(rows, count)
    groups = nearest_of(_kmeans(rows, round(count**0.5)))(rows)
    sizes = np.bincount(groups)
    ends = np.rint(np.cumsum(sizes) * (count / len(rows))).astype(np.int64)
    counts = np.diff(ends, prepend=0).tolist()  # in proportion to their rows, and never more than these
    return np.concatenate([_kmeans(rows[groups == group], counts[group]) for group in np.flatnonzero(counts).tolist()])


def _kmeans(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    dimension, most = rows.shape[1], max(-(-len(rows) // count), 1)
    clustering = faiss.Kmeans(
        dimension, count, niter=ITERATIONS, seed=SEED, min_points_per_centroid=1, max_points_per_centroid=most
    )
    clustering.train(rows)
    return np.asarray(clustering.centroids)


def moved(centroids: NDArray[np.float32], vectors: StoredVectors, basis: NDArray[np.float32]) -> NDArray[np.float32]:
    """To the means of the rows that are nearest to each, without those that none is nearest to: float32 [lists, first].

    Args:
        centroids: float32 [lists, first].
        vectors: all rows.
        basis: float32 [first, d], the directions that centroids have.
    """
    nearest, sums = nearest_of(centroids), np.zeros(centroids.shape, np.float64)
    sizes = np.zeros(len(centroids), np.int64)
    for _, block in vectors.blocks():
        turned = block @ basis.T
        lists = nearest(turned)
        order = np.argsort(lists, kind="stable")
        here, starts = np.unique(lists[order], return_index=True)
        sums[here] += np.add.reduceat(turned[order], starts, axis=0, dtype=np.float64)
        sizes += np.bincount(lists, minlength=len(sizes))
    filled = sizes > 0
    return (sums[filled] / sizes[filled, None]).astype(np.float32)


def nearest_of(centroids: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
    """What finds the nearest centroid of rows; where centroids are many, now and then one that is nearly as near."""
    count, dimension = centroids.shape
    if count <= AT_ONCE:
        index: faiss.Index = faiss.IndexFlatL2(dimension)
    else:
        cells = faiss.IndexFlatL2(dimension)
        cells.add(_kmeans(centroids, round(count**0.5)))
        inner = faiss.IndexIVFFlat(cells, dimension, cells.ntotal)
        inner.train(centroids)  # which leaves the groups as they are
        inner.nprobe = CELLS
        index = inner
    index.add(centroids)
    return lambda rows: np.ascontiguousarray(index.search(np.ascontiguousarray(rows), 1)[1][:, 0])


def principal_directions(sample: NDArray[np.float32], kept: int) -> NDArray[np.float32]:
    """The directions in which most of the squared length lies: float32 [n, d] -> [kept, d], orthonormal.

    Without centring, so that products in the turned space are those of the vectors but for what is left out.
    """
    moments = sample.T.astype(np.float64) @ sample.astype(np.float64)
    _, directions = np.linalg.eigh(moments)
    return np.ascontiguousarray(directions[:, ::-1][:, :kept].T, np.float32)


def sample_size(count: int) -> int:
    """Rows to learn so many lists from."""
    return max(SAMPLE_ROWS * count, LEAST_SAMPLE)

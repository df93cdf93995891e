"""The lists: made, added to, written. One FAISS file, ids are rows; `scan` looks into it where it lies on the disk.

Vectors are turned onto the principal directions of a sample and the last of these are left out; what is kept is stored
with 8 bits a value. In that space k-means finds centroids, and every row goes to the list of the nearest one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from build_index.search_index.stored import StoredVectors

ROWS_PER_CENTROID = 64
"""Rows that k-means sees for each centroid, drawn from all parts."""

LEAST_SAMPLE = 16_384

ITERATIONS = 10

SEED = 0


@dataclass(frozen=True, eq=False)
class Lists:
    """A FAISS index of lists behind a change of basis, taken apart.

    Attributes:
        whole: what is written to the disk.
        inner: the lists.
        basis: float32 [kept, d], the directions that are kept.
    """

    whole: faiss.IndexPreTransform
    inner: Any  # faiss.IndexIVFScalarQuantizer, of which the stubs do not know every method
    basis: NDArray[np.float32]

    @classmethod
    def of(cls, whole: faiss.Index) -> "Lists":
        """Take apart what was read.

        Raises:
            ValueError: it is another kind of index.
        """
        chain: Any = getattr(whole, "chain", None)  # a vector of C++
        if not isinstance(whole, faiss.IndexPreTransform) or chain.size() != 1:
            raise ValueError(f"expected one change of basis before the lists, found {type(whole).__name__}")
        transform = faiss.downcast_VectorTransform(chain.at(0))
        inner = faiss.downcast_index(whole.index)
        if not isinstance(transform, faiss.LinearTransform) or transform.have_bias:
            raise ValueError(f"expected a linear map without bias, found {type(transform).__name__}")
        if not isinstance(inner, faiss.IndexIVFScalarQuantizer):
            raise ValueError(f"expected lists of 8-bit values, found {type(inner).__name__}")
        basis = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
        return cls(whole, inner, basis)

    @property
    def count(self) -> int:
        """Lists."""
        return self.inner.nlist

    def centroids(self) -> NDArray[np.float32]:
        """float32 [lists, kept]."""
        return self.inner.quantizer.reconstruct_n(0, self.count)

    def codes(self, number: int) -> NDArray[np.uint8]:
        """Those of one list where they lie: uint8 [rows, kept]."""
        stored = self.inner.invlists
        size, kept = stored.list_size(number), len(self.basis)
        codes: NDArray[np.uint8] = faiss.rev_swig_ptr(stored.get_codes(number), size * kept).reshape(size, kept)
        return codes

    def add(self, vectors: StoredVectors) -> None:
        """Put every row into a list that is in none yet."""
        nearest = faiss.IndexFlatL2(self.inner.d)
        nearest.add(self.centroids())
        for first, block in vectors.blocks(self.inner.ntotal):
            kept = np.ascontiguousarray(block @ self.basis.T)
            _, lists = nearest.search(kept, 1)
            rows, places = np.arange(first, first + len(block)), np.ascontiguousarray(lists[:, 0])
            pointers = (faiss.swig_ptr(each) for each in (kept, rows, places))
            self.inner.add_core(len(block), *pointers)
        self.whole.ntotal = self.inner.ntotal

    def write(self, path: Path) -> None:
        """Write the file."""
        faiss.write_index(self.whole, str(path))


def train(vectors: StoredVectors, rows: NDArray[np.int64], count: int, kept: int) -> Lists:
    """Learn directions, centroids and ranges of values; the lists are empty.

    Args:
        vectors: all of them.
        rows: int64 [n], the sample to learn from.
        count: lists.
        kept: directions.
    """
    sample = vectors.take(rows)
    basis = principal_directions(sample, kept)
    turned = np.ascontiguousarray(sample @ basis.T)
    clustering = faiss.Kmeans(
        kept,
        count,
        niter=ITERATIONS,
        seed=SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=max(ROWS_PER_CENTROID, -(-len(rows) // count)),
    )
    clustering.train(turned)
    quantizer = faiss.IndexFlatIP(kept)
    quantizer.add(np.asarray(clustering.centroids))
    inner = faiss.IndexIVFScalarQuantizer(
        quantizer, kept, count, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    inner.by_residual = False
    inner.train(turned)
    transform = faiss.LinearTransform(vectors.dimension, kept, False)  # noqa: FBT003
    faiss.copy_array_to_vector(basis.ravel(), transform.A)
    transform.is_trained = True
    return Lists(faiss.IndexPreTransform(transform, inner), inner, basis)


def principal_directions(sample: NDArray[np.float32], kept: int) -> NDArray[np.float32]:
    """The directions in which most of the squared length lies: float32 [n, d] -> [kept, d], orthonormal.

    Without centring, so that products in the turned space are those of the vectors but for what is left out.
    """
    moments = sample.T.astype(np.float64) @ sample.astype(np.float64)
    _, directions = np.linalg.eigh(moments)
    return np.ascontiguousarray(directions[:, ::-1][:, :kept].T, np.float32)


def sample_size(count: int) -> int:
    """Rows to learn so many lists from."""
    return max(ROWS_PER_CENTROID * count, LEAST_SAMPLE)

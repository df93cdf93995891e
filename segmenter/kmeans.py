"""Spherical k-means: the directions around which the features of one picture gather.

TAG's released code finds its clusters with Euclidean k-means but gives pixels to them by an unnormalised dot product,
so that centres of large norm swallow pixels and others vanish. Here one measure, the cosine, serves the clustering and
the assignment alike: Dhillon and Modha, "Concept decompositions for large sparse text data using clustering" (2001),
seeded as in Arthur and Vassilvitskii, "k-means++" (2007).
"""

import numpy as np
import numpy.typing as npt
from numpy.random import PCG64, Generator

from segmenter.pool import unit_rows

Floats = npt.NDArray[np.float32]

SAME = 1e-6  # rows whose cosine is closer to 1 than this are one direction: float32 resolves no more


def kmeans(features: Floats, k: int, seed: int, restarts: int, iterations: int) -> Floats:
    """Find at most k directions that maximise the sum over rows of the cosine to the nearest one.

    The best of several restarts is returned, the earliest one if they tie. The same arguments give the same bytes.
    A centre that loses all its rows waits where it is, may win rows back, and is left out if it still has none at the
    end. Rows of zeros have no direction and take no part.

    Args:
        features: float32 [N, C], finite, not empty; their lengths do not matter.
        k: directions to look for.
        seed: of NumPy's PCG64.
        restarts: independent choices of starting centres.
        iterations: rounds of assigning and averaging at most; fewer when no row changes its centre.

    Returns:
        float32 [k', C], unit rows, 1 <= k' <= k and k' <= number of different directions. If all features are zero,
        a single centre of zeros.

    Raises:
        ValueError: features are no matrix, empty or not finite, or a number is below its least meaningful value.
    """
    if features.ndim != 2 or features.size == 0:
        raise ValueError(f"features are [N, C] and not empty, got {list(features.shape)}")
    if not np.isfinite(features).all():
        raise ValueError(f"features are finite, got {np.count_nonzero(~np.isfinite(features))} values that are not")
    if min(k, restarts, iterations) < 1:
        raise ValueError(f"k, restarts and iterations start at 1, got {k}, {restarts}, {iterations}")
    rows = unit_rows(features)
    rows = rows[rows.any(axis=1)]
    if len(rows) == 0:
        return np.zeros((1, features.shape[1]), dtype=np.float32)
    centres = _choose_seeds(rows, k, restarts, Generator(PCG64(seed)))
    centres = _refine(rows, centres, iterations)
    return _best(rows, centres)


def _choose_seeds(rows: Floats, k: int, restarts: int, rng: Generator) -> Floats:
    """k-means++: each next seed is drawn in proportion to 1 - cosine to the nearest seed, half the squared distance.

    Returns:
        float32 [restarts, k, C]; or [1, k', C] with k' < k once one restart has a seed in every direction there is,
        because nothing can be better.
    """
    chosen = [rng.integers(len(rows), size=restarts)]
    distance = np.full((len(rows), restarts), np.inf, dtype=np.float32)
    for _ in range(k - 1):
        np.minimum(distance, 1 - rows @ rows[chosen[-1]].T, out=distance)
        distance[distance < SAME] = 0
        cumulative = np.cumsum(distance, axis=0, dtype=np.float64)
        covered = np.flatnonzero(cumulative[-1] == 0)
        if covered.size:
            return rows[np.stack(chosen, axis=1)[covered[:1]]]
        chosen.append(np.argmax(cumulative > rng.random(restarts) * cumulative[-1], axis=0))
    return rows[np.stack(chosen, axis=1)]


def _refine(rows: Floats, centres: Floats, iterations: int) -> Floats:
    """Lloyd's rounds for all restarts side by side, since one wide matrix product is cheaper than many narrow ones.

    Args:
        rows: float32 [N, C], unit rows.
        centres: float32 [R, k, C], unit rows.
        iterations: rounds at most.

    Returns:
        float32 [R, k, C], unit rows.
    """
    centres = centres.copy()
    restless = np.arange(len(centres))
    owners = np.full((len(rows), len(centres)), -1)
    for _ in range(iterations):
        nearest = _cosines(rows, centres[restless]).argmax(axis=2)
        moved = (nearest != owners[:, restless]).any(axis=0)
        owners[:, restless] = nearest
        restless = restless[moved]
        if restless.size == 0:
            break
        centres[restless] = _average(rows, owners[:, restless], centres[restless])
    return centres


def _cosines(rows: Floats, centres: Floats) -> Floats:
    """float32 [N, R, k] from unit rows [N, C] and [R, k, C]."""
    restarts, k, channels = centres.shape
    cosines: Floats = rows @ centres.reshape(-1, channels).T
    return cosines.reshape(len(rows), restarts, k)


def _average(rows: Floats, owners: npt.NDArray[np.intp], centres: Floats) -> Floats:
    """The mean direction of each centre's rows; the centre itself where there are none or they cancel out.

    Args:
        rows: float32 [N, C], unit rows.
        owners: [N, R], values 0 to k - 1: which centre of a restart owns a row.
        centres: float32 [R, k, C], unit rows.
    """
    restarts, k, _ = centres.shape
    membership = np.zeros((len(rows), restarts * k), dtype=np.float32)
    membership[np.arange(len(rows))[:, None], owners + k * np.arange(restarts)] = 1
    means = unit_rows((membership.T @ rows).reshape(centres.shape))
    return np.where(means.any(axis=2, keepdims=True), means, centres)


def _best(rows: Floats, centres: Floats) -> Floats:
    """Of [R, k, C] the restart whose rows lie closest to their centres, without the centres that own no row."""
    cosines = _cosines(rows, centres)
    winner = int(cosines.max(axis=2).sum(axis=0, dtype=np.float64).argmax())
    used = np.unique(cosines[:, winner].argmax(axis=1))
    best: Floats = centres[winner, used]
    return best

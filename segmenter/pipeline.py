"""Pixels in, segments out; pixels and segments in, segment vectors out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from segmenter.kmeans import kmeans
from segmenter.pool import pool_by_segment, unit_rows
from segmenter.segments import MAX_SEGMENTS, Segments, relabel
from segmenter.upsample import upsample_argmax

Picture = npt.NDArray[np.uint8]
Grid = npt.NDArray[np.float32]


class DenseEncoder(Protocol):
    """A network that sees a picture as a grid of vectors."""

    def embed(self, picture: Picture) -> Grid:
        """Embed a picture.

        Args:
            picture: uint8 [H, W, 3], RGB, values 0 to 255, of any size.

        Returns:
            float32 [rows, cols, C], finite; a grid that covers the whole picture evenly, whatever its own resolution.
        """
        ...


class Regions(Enum):
    """Ways of finding regions; each is a row of `REGIONS`."""

    KMEANS = "kmeans"


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """How a picture is cut into segments.

    Raises:
        ValueError: a number has no meaning; the message says which.
    """

    regions: Regions = field(default=Regions.KMEANS, metadata={"help": "how regions are found"})
    k: int = field(default=15, metadata={"help": "regions k-means looks for, TAG's value"})
    seed: int = field(default=0, metadata={"help": "of the random choices, so that a rerun repeats them"})
    restarts: int = field(default=8, metadata={"help": "k-means runs, of which the best counts, TAG's value"})
    iterations: int = field(default=100, metadata={"help": "rounds per k-means run at most, TAG's value"})

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_SEGMENTS:
            raise ValueError(f"k is {self.k}, expected 1 to {MAX_SEGMENTS}")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, expected 0 or more")
        if self.restarts < 1 or self.iterations < 1:
            raise ValueError(f"restarts is {self.restarts} and iterations {self.iterations}, expected 1 or more")


def segment(picture: Picture, patch_features: DenseEncoder, config: SegmentConfig) -> Segments:
    """Cut a picture into regions that look alike to a network.

    Args:
        picture: uint8 [H, W, 3], RGB.
        patch_features: what the picture looks like, e.g. DINOv2's patch tokens.
        config: how many regions, and how they are found.

    Returns:
        Segments of the picture's own size, numbered in the order in which they are met from the top left. There may
        be fewer than asked for.

    Raises:
        ValueError: the network returned no grid of finite vectors.
    """
    height, width = picture.shape[:2]
    features = _embed(picture, patch_features)  # float32 [rows, cols, C]
    scores = REGIONS[config.regions](features, config)  # float32 [rows, cols, k']
    label_map = upsample_argmax(scores, height, width)  # int32 [H, W]
    return relabel(label_map)  # S <= k' segments


def embed_segments(picture: Picture, segments: Segments, clip_dense: DenseEncoder) -> npt.NDArray[np.float32]:
    """Place each segment of a picture in the space of a network.

    Args:
        picture: uint8 [H, W, 3], RGB.
        segments: S segments of that picture.
        clip_dense: dense vectors in the space that texts live in, too.

    Returns:
        float32 [S, D], unit rows; zeros where the mean of a segment's vectors is zero.

    Raises:
        ValueError: the segments are those of a picture of another size, or the network returned no grid of finite
            vectors.
    """
    if picture.shape[:2] != segments.size:
        raise ValueError(f"the picture is {picture.shape[:2]} pixels high and wide, its segments {segments.size}")
    dense = _embed(picture, clip_dense)  # float32 [rows, cols, D]
    return pool_by_segment(dense, segments)  # float32 [S, D], unit rows


def kmeans_scores(features: Grid, config: SegmentConfig) -> Grid:
    """Cosines of every cell to the centres that spherical k-means finds among the cells.

    Args:
        features: float32 [rows, cols, C].
        config: `k`, `seed`, `restarts` and `iterations`.

    Returns:
        float32 [rows, cols, k'], k' <= `config.k`.
    """
    rows = unit_rows(features)
    centres = kmeans(
        rows.reshape(-1, rows.shape[2]),
        k=config.k,
        seed=config.seed,
        restarts=config.restarts,
        iterations=config.iterations,
    )
    return rows @ centres.T


# A way of finding regions scores every cell of the grid for every region: [rows, cols, C] -> float32 [rows, cols, k'].
REGIONS: dict[Regions, Callable[[Grid, SegmentConfig], Grid]] = {
    Regions.KMEANS: kmeans_scores,
}


def _embed(picture: Picture, encoder: DenseEncoder) -> Grid:
    """Run a network and check what it promised, before a gap in its output becomes a wrong word.

    Raises:
        ValueError: not a grid of finite vectors.
    """
    grid = encoder.embed(picture)
    name = type(encoder).__name__
    if grid.ndim != 3 or grid.size == 0:
        raise ValueError(f"{name} embeds a picture as {list(grid.shape)}, expected [rows, cols, C]")
    if not np.isfinite(grid).all():
        raise ValueError(f"{name} returned {np.count_nonzero(~np.isfinite(grid))} values that are not finite")
    return grid

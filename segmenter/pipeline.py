"""Pixels in, segments out; pixels and segments in, segment vectors out."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from segmenter.config import Edges, Regions, SegmentConfig
from segmenter.crf import crf_argmax
from segmenter.guided import guided_argmax
from segmenter.kmeans import kmeans
from segmenter.parts import agglomerate
from segmenter.pool import pool_by_segment, unit_rows
from segmenter.segments import Segments, number_regions, relabel
from segmenter.tree import tree_regions
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


def segment(picture: Picture, patch_features: DenseEncoder, config: SegmentConfig) -> Segments:
    """Cut a picture into regions that look alike to a network.

    Args:
        picture: uint8 [H, W, 3], RGB.
        patch_features: what the picture looks like, e.g. DINOv2's patch tokens.
        config: how many regions, how they are found, and how their outlines are drawn.

    Returns:
        Segments of the picture's own size, numbered in the order in which they are met from the top left. There may
        be fewer than asked for.

    Raises:
        ValueError: the network returned no grid of finite vectors.
    """
    scores = _region_scores(picture, patch_features, config)  # float32 [rows, cols, k']
    return draw_outlines(picture, scores, config)[0]  # S <= k' segments


def segment_cells(picture: Picture, patch_features: DenseEncoder, config: SegmentConfig) -> Segments:
    """Cut a picture as `segment` does, but leave its outlines to be drawn: segments of the network's grid.

    Args:
        picture: uint8 [H, W, 3], RGB.
        patch_features: what the picture looks like, e.g. DINOv2's patch tokens.
        config: how many regions, and how they are found.

    Returns:
        Segments whose pixels are the cells of the grid, [rows, cols]; each cell has the region of its highest score,
        the first of those that tie.

    Raises:
        ValueError: the network returned no grid of finite vectors.
    """
    scores = _region_scores(picture, patch_features, config)  # float32 [rows, cols, k']
    return relabel(scores.argmax(axis=2))


def draw_outlines(picture: Picture, scores: Grid, config: SegmentConfig) -> tuple[Segments, npt.NDArray[np.integer]]:
    """Give every pixel to one of k' maps that score the cells of a grid.

    Args:
        picture: uint8 [H, W, 3], RGB.
        scores: float32 [rows, cols, k'], finite.
        config: how outlines are drawn.

    Returns:
        S <= k' segments of the picture's own size, numbered from the top left; and integer [S], the map of each.
        A map that wins no pixel has no segment.
    """
    if scores.shape[2] == 1:
        return number_regions(np.zeros(picture.shape[:2], np.int32))
    label_map = EDGES[config.edges](picture, scores, config)  # int32 [H, W], values 0 to k' - 1
    return number_regions(label_map)


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
    return pool_by_segment(embed_cells(picture, clip_dense), segments)  # float32 [S, D], unit rows


def embed_cells(picture: Picture, encoder: DenseEncoder) -> Grid:
    """Run a network and check what it promised, before a gap in its output becomes a wrong word.

    Args:
        picture: uint8 [H, W, 3], RGB.
        encoder: the network.

    Returns:
        float32 [rows, cols, C], finite; other real numbers are converted.

    Raises:
        ValueError: not a grid of finite vectors.
    """
    answer: object = encoder.embed(picture)
    name = type(encoder).__name__
    if not isinstance(answer, np.ndarray) or answer.dtype.kind not in "fiub":
        found = f"an array {answer.dtype}" if isinstance(answer, np.ndarray) else type(answer).__name__
        raise ValueError(f"{name} embeds a picture as {found}, expected a NumPy array float32 [rows, cols, C]")
    if answer.ndim != 3 or answer.size == 0:
        raise ValueError(f"{name} embeds a picture as {list(answer.shape)}, expected [rows, cols, C]")
    with np.errstate(over="ignore"):
        grid: Grid = answer.astype(np.float32, copy=False)
    if not np.isfinite(grid).all():
        raise ValueError(f"{name} returned {np.count_nonzero(~np.isfinite(grid))} values that are not finite")
    return grid


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


def tree_scores(features: Grid, config: SegmentConfig) -> Grid:
    """1 where a cell belongs to a region of `tree_regions`, else 0: float32 [rows, cols, k'].

    Cosines to the regions' means would give cells to regions far away; as scores they measured worse.
    """
    return _membership(tree_regions(features, config))


def agglomeration_scores(features: Grid, config: SegmentConfig) -> Grid:
    """1 where a cell belongs to a part of `agglomerate`, else 0: float32 [rows, cols, k'], k' <= `config.parts`."""
    return _membership(agglomerate(features, config.parts))


def _membership(regions: npt.NDArray[np.intp]) -> Grid:
    """From [rows, cols], values 0 to k - 1, to float32 [rows, cols, k], one 1 per cell."""
    return np.eye(int(regions.max()) + 1, dtype=np.float32)[regions]


# A way of finding regions scores every cell of the grid for every region: [rows, cols, C] -> float32 [rows, cols, k'].
REGIONS: dict[Regions, Callable[[Grid, SegmentConfig], Grid]] = {
    Regions.KMEANS: kmeans_scores,
    Regions.TREE: tree_scores,
    Regions.AGGLOMERATION: agglomeration_scores,
}

# A way of drawing outlines gives every pixel of a picture to one of k' regions: int32 [H, W].
EDGES: dict[Edges, Callable[[Picture, Grid, SegmentConfig], npt.NDArray[np.int32]]] = {
    Edges.NONE: lambda picture, scores, _: upsample_argmax(scores, *picture.shape[:2]),
    Edges.GUIDED: lambda picture, scores, _: guided_argmax(picture, scores),
    Edges.CRF: lambda picture, scores, config: crf_argmax(picture, scores, config.temperature),
}


def _region_scores(picture: Picture, patch_features: DenseEncoder, config: SegmentConfig) -> Grid:
    """How much each cell belongs to each region: float32 [rows, cols, k']."""
    return REGIONS[config.regions](embed_cells(picture, patch_features), config)

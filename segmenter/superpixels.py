"""A picture as a few thousand patches of like colour, so that every one can be compared with every other.

SLIC: R. Achanta, A. Shaji, K. Smith, A. Lucchi, P. Fua and S. Süsstrunk, "SLIC Superpixels Compared to State-of-the-Art
Superpixel Methods", TPAMI 34 (2012). The picture is resized so that a grid of square tiles covers it exactly; a pixel
then chooses among the nine superpixels that started from its own tile and those around it. Superpixels need not hang
together.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]

COMPACTNESS = 10.0  # colour levels that weigh as much as a distance of one tile, the paper's usual value
ROUNDS = 3  # five move few pixels more
AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


@dataclass(frozen=True, eq=False)
class Superpixels:
    """A picture cut into superpixels.

    Attributes:
        label_map: int32 [h, w], values 0 to N - 1; of the resized picture.
        sizes: float32 [N], pixels of each.
        places: float32 [N, 2], mean y and x in pixels of the resized picture.
        colours: float32 [N, 3], mean red, green and blue, 0 to 255.
    """

    label_map: npt.NDArray[np.int32]
    sizes: Floats
    places: Floats
    colours: Floats

    def mean(self, values: Floats) -> Floats:
        """The mean of values [h, w, k] over each superpixel: float32 [N, k]."""
        return _means(self.label_map, values, self.sizes)


def superpixels(picture: npt.NDArray[np.uint8], rows: int, cols: int, tile: int) -> Superpixels:
    """Cut a picture into superpixels.

    Args:
        picture: uint8 [H, W, 3].
        rows: of tiles.
        cols: of tiles.
        tile: side of a tile, in pixels of the resized picture.

    Returns:
        N <= rows * cols superpixels of the picture resized to [rows * tile, cols * tile].
    """
    height, width = rows * tile, cols * tile
    resized = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))
    y, x = np.indices((height, width), dtype=np.float32)
    points = np.concatenate([resized / np.float32(COMPACTNESS), y[..., None] / tile, x[..., None] / tile], axis=2)
    tiles = points.reshape(rows, tile, cols, tile, 5).swapaxes(1, 2).reshape(rows, cols, tile * tile, 5)
    labels = np.arange(rows * cols, dtype=np.int32).reshape(rows, cols, 1).repeat(tile * tile, axis=2)
    centres = tiles.mean(axis=2)
    for _ in range(ROUNDS):
        labels = _assign(tiles, centres)
        centres = _recentre(tiles, labels, centres)
    labels = np.unique(labels, return_inverse=True)[1].reshape(rows, cols, tile, tile).astype(np.int32)
    label_map = np.ascontiguousarray(labels.swapaxes(1, 2).reshape(height, width))
    sizes = np.bincount(label_map.ravel()).astype(np.float32)
    means = _means(label_map, points, sizes)
    return Superpixels(label_map, sizes, means[:, 3:] * tile, means[:, :3] * np.float32(COMPACTNESS))


def _assign(tiles: Floats, centres: Floats) -> npt.NDArray[np.int32]:
    """The nearest of nine centres for every pixel, the first of those that tie.

    Args:
        tiles: float32 [rows, cols, P, 5], the pixels of each tile.
        centres: float32 [rows, cols, 5].

    Returns:
        int32 [rows, cols, P], tiles counted row by row.
    """
    rows, cols, _, _ = tiles.shape
    row, col = np.indices((rows, cols))
    best = np.full(tiles.shape[:3], np.inf, dtype=np.float32)
    labels = np.zeros(tiles.shape[:3], dtype=np.int32)
    for dy, dx in AROUND:
        near_row, near_col = (row + dy).clip(0, rows - 1), (col + dx).clip(0, cols - 1)
        centre = centres[near_row, near_col]  # [rows, cols, 5]
        # Squared distance, less the pixel's own square, which is the same for all nine.
        distance = (centre**2).sum(axis=2)[..., None] - 2 * (tiles @ centre[..., None])[..., 0]
        np.copyto(labels, (near_row * cols + near_col)[..., None], where=distance < best, casting="same_kind")
        np.minimum(best, distance, out=best)
    return labels


def _recentre(tiles: Floats, labels: npt.NDArray[np.int32], centres: Floats) -> Floats:
    """Each centre moves to the mean of its pixels; one without pixels stays."""
    flat, count = labels.ravel(), centres.shape[0] * centres.shape[1]
    sizes = np.bincount(flat, minlength=count)
    means = _means(flat, tiles.reshape(flat.size, -1), np.maximum(sizes, 1).astype(np.float32))
    return np.where((sizes > 0)[:, None], means, centres.reshape(count, -1)).reshape(centres.shape)


def _means(labels: npt.NDArray[np.int32], values: Floats, sizes: Floats) -> Floats:
    """Sum of values [..., k] by labels [...], divided by sizes [N]: float32 [N, k]."""
    flat = labels.ravel()
    columns = values.reshape(flat.size, -1).T
    sums = [np.bincount(flat, weights=column, minlength=len(sizes)) for column in columns]
    return (np.stack(sums, axis=1) / sizes[:, None]).astype(np.float32)

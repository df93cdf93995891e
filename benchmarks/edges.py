"""How well outlines follow the picture: boundary F and IoU for each way of drawing them, and what they cost.

    python benchmarks/edges.py --photos VOC_OR_MSRC_FOLDER --every 4      # 50 of 200 pictures, about two minutes

The regions are those of the ground truth, each cell of a grid of stride 16 at short side 448 given to the region that
holds most of it ("hard"), as by a network that sees cells and never errs; or to each region by its share of the cell
("shares"), more than any network tells. Boundary F: the harmonic mean of the shares of drawn and of true boundary
pixels that have one of the other kind within 2 pixels. Void is filled with the nearest label. IoU is the mean over the
regions of a picture. Pictures with a single region are left out.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import distance_transform_edt

sys.path.insert(0, str(Path(__file__).parent.parent))  # also runs from a checkout that is not installed

from segmenter import Edges, SegmentConfig
from segmenter.pipeline import EDGES

STRIDE, SHORT_SIDE = 16, 448
TOLERANCE = 2  # pixels

LabelMap = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="a folder with the VOC's or MSRC's subfolders")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture only")
    parser.add_argument("--temperatures", type=float, nargs="*", default=[0.1, 0.3, 1.0], help="of the CRF")
    flags = parser.parse_args()
    ways = {edges.value: SegmentConfig(edges=edges) for edges in Edges if edges is not Edges.CRF}
    for temperature in flags.temperatures:
        ways[f"crf, temperature {temperature:g}"] = SegmentConfig(edges=Edges.CRF, temperature=temperature)
    pictures = list(read_pictures(flags.photos))[:: flags.every]
    print(f"{len(pictures)} pictures of {flags.photos.name}")
    print(f"{'cells':8}{'edges':24}{'boundary F':>12}{'IoU':>8}{'ms a picture':>14}")
    for cells, prepare in CELLS.items():
        for name, config in ways.items():
            boundary, overlap, seconds = measure(pictures, prepare, config)
            print(f"{cells:8}{name:24}{boundary:12.3f}{overlap:8.3f}{1e3 * seconds:14.0f}", flush=True)
    return 0


def measure(
    pictures: list[tuple[Picture, LabelMap]], prepare: Callable[[Floats], Floats], config: SegmentConfig
) -> tuple[float, float, float]:
    """Mean boundary F, mean IoU, and the median of seconds a picture."""
    rows = []
    for picture, truth in pictures:
        scores = prepare(cell_shares(truth, *grid_of(*truth.shape)))
        started = time.perf_counter()
        drawn = EDGES[config.edges](picture, scores, config)
        seconds = time.perf_counter() - started
        rows.append((boundary_f(drawn, truth, TOLERANCE), mean_iou(drawn, truth), seconds))
    table = np.array(rows)
    return float(table[:, 0].mean()), float(table[:, 1].mean()), float(np.median(table[:, 2]))


def read_pictures(folder: Path) -> Iterator[tuple[Picture, LabelMap]]:
    """Pictures, uint8 [H, W, 3], and their regions, [H, W], values 0 to k - 1, void filled."""
    kind = ("JPEGImages", "SegmentationClass", 255) if (folder / "JPEGImages").is_dir() else ("images", "labels", 0)
    truths = {path.stem: path for path in (folder / kind[1]).iterdir()}
    for path in sorted((folder / kind[0]).iterdir()):
        labels = np.asarray(Image.open(truths[path.stem]))
        if (labels == kind[2]).all():
            continue
        names, regions = np.unique(fill_void(labels, kind[2]), return_inverse=True)
        if len(names) > 1:
            yield np.asarray(Image.open(path).convert("RGB")), regions.reshape(labels.shape)


def fill_void(labels: npt.NDArray[np.integer], void: int) -> npt.NDArray[np.integer]:
    """Every void pixel takes the label of the nearest other one: [H, W] -> [H, W]."""
    nearest = distance_transform_edt(labels == void, return_distances=False, return_indices=True)
    filled: npt.NDArray[np.integer] = labels[tuple(nearest)]
    return filled


def grid_of(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of cells, `STRIDE` pixels each where the short side is `SHORT_SIDE`."""
    scale = SHORT_SIDE / min(height, width) / STRIDE
    return round(height * scale), round(width * scale)


def cell_shares(regions: LabelMap, rows: int, cols: int) -> Floats:
    """How much of each cell each region covers: [H, W], values 0 to k - 1, to float32 [rows, cols, k]."""
    count = int(regions.max()) + 1
    masks = (Image.fromarray((regions == number).astype(np.float32)) for number in range(count))
    return np.stack([np.asarray(mask.resize((cols, rows), Image.Resampling.BOX)) for mask in masks], axis=2)


def harden(shares: Floats) -> Floats:
    """1 for the region that holds most of a cell, 0 for the others."""
    return np.eye(shares.shape[2], dtype=np.float32)[shares.argmax(axis=2)]


CELLS: dict[str, Callable[[Floats], Floats]] = {"hard": harden, "shares": lambda shares: shares}


def boundary_f(drawn: LabelMap, truth: LabelMap, tolerance: float) -> float:
    """Harmonic mean of precision and recall of boundary pixels.

    A boundary pixel has another label than its right or its lower neighbour; it is found if the other map has one at
    a Euclidean distance of at most `tolerance`.

    Returns:
        0 to 1; 1 if neither map has boundaries, 0 if one has none.
    """
    mine, theirs = boundary(drawn), boundary(truth)
    if not (mine.any() and theirs.any()):
        return float(mine.any() == theirs.any())
    precision = float((distance_transform_edt(~theirs)[mine] <= tolerance).mean())
    recall = float((distance_transform_edt(~mine)[theirs] <= tolerance).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(labels: LabelMap) -> npt.NDArray[np.bool_]:
    """Where the label differs from the right or the lower neighbour's: bool [H, W]."""
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    return edge


def mean_iou(drawn: LabelMap, truth: LabelMap) -> float:
    """Mean over the true regions of intersection over union with the drawn region of the same number."""
    count = int(truth.max()) + 1
    table = np.bincount((truth * count + drawn).ravel(), minlength=count**2).reshape(count, count)
    both = np.diag(table)
    return float((both / (table.sum(axis=0) + table.sum(axis=1) - both)).mean())


if __name__ == "__main__":
    sys.exit(main())

"""Fully connected CRF: pixels of like colour, near or far, should carry one label.

Mean field after P. Krähenbühl and V. Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials", NeurIPS 2011, arXiv 1210.5644, with the numbers that TAG gives to pydensecrf, and as pydensecrf has it:
kernels are normalised symmetrically and a pixel is its own neighbour. Instead of an approximate filter over all pixels,
the sums are taken exactly over superpixels, within which colour, place and belief are taken to be constant: all
pairs of two thousand are one matrix of 16 MB, and a round is one product with it.

Two defects of TAG's code are put right: colours are the picture's bytes, not bytes scaled twice (its colours differed
by less than one, so that the colour term saw a grey picture), and scores become probabilities at a temperature, not as
raw dot products, which left nothing to decide.
"""

import numpy as np
import numpy.typing as npt

from segmenter.superpixels import Superpixels, superpixels
from segmenter.upsample import nearest_labels, upsample

Floats = npt.NDArray[np.float32]

ROUNDS = 10
SMOOTH_SPREAD, SMOOTH_WEIGHT = 1.0, 3.0  # pixels
PLACE_SPREAD, COLOUR_SPREAD, COLOUR_WEIGHT = 67.0, 3.0, 4.0  # pixels, levels of 0 to 255
SHORT_SIDE = 448  # the picture's short side in TAG, which its spreads in pixels refer to
REACH = 3  # spreads after which the narrow Gaussian counts as zero

MAX_SUPERPIXELS = 2048
TILE = 8  # pixels of the resized picture along a superpixel
LEAST_SIDE = 2  # pixels of the picture along a superpixel: small pictures have fewer


def crf_argmax(picture: npt.NDArray[np.uint8], scores: Floats, temperature: float) -> npt.NDArray[np.int32]:
    """Upsample k score maps to a picture, let the CRF smooth them, and say which one wins at each pixel.

    Args:
        picture: uint8 [H, W, 3], RGB.
        scores: float32 [rows, cols, k], finite.
        temperature: difference in score that makes a label e times as likely.

    Returns:
        int32 [H, W], values 0 to k - 1, the first of those that tie.
    """
    height, width = picture.shape[:2]
    rows, cols = _tiles(height, width)
    pieces = superpixels(picture, rows, cols, TILE)
    lifted = upsample(scores, *pieces.label_map.shape)  # float32 [h, w, k]
    unary = pieces.mean(lifted) / np.float32(temperature)  # float32 [N, k]
    belief = mean_field(unary, kernel_of(pieces), ROUNDS)
    return nearest_labels(belief.argmax(axis=1).astype(np.int32)[pieces.label_map], height, width)


def mean_field(unary: Floats, kernel: Floats, rounds: int) -> Floats:
    """Beliefs after some rounds of mean field with Potts compatibility.

    In each round, Q_i(l) becomes proportional to exp(unary_i(l) + sum over j of kernel_ij Q_j(l)).

    Args:
        unary: float32 [N, k], logarithms of probabilities up to a constant per row.
        kernel: float32 [N, N], how much the label of j speaks for that of i, weights included.
        rounds: 0 or more.

    Returns:
        float32 [N, k], rows that sum to 1.
    """
    belief = _softmax(unary)
    for _ in range(rounds):
        belief = _softmax(unary + kernel @ belief)
    return belief


def kernel_of(pieces: Superpixels) -> Floats:
    """How much each superpixel speaks for each other one: float32 [N, N].

    Places are measured on a picture whose short side is `SHORT_SIDE` pixels.
    """
    scale = SHORT_SIDE / min(pieces.label_map.shape)
    points = np.concatenate([pieces.places * (scale / PLACE_SPREAD), pieces.colours / COLOUR_SPREAD], axis=1)
    return COLOUR_WEIGHT * gaussian_kernel(points.astype(np.float32), pieces.sizes) + SMOOTH_WEIGHT * smooth_kernel(
        pieces.label_map, SMOOTH_SPREAD / scale
    )


def gaussian_kernel(points: Floats, sizes: Floats) -> Floats:
    """A Gaussian of distance, normalised: K_ij n_j / sqrt(d_i d_j) with d_i = sum over j of K_ij n_j.

    Args:
        points: float32 [N, D], in units of the spreads.
        sizes: float32 [N], pixels at each point.

    Returns:
        float32 [N, N].
    """
    points = points - points.mean(axis=0)  # smaller numbers, less rounding
    squares = (points**2).sum(axis=1)
    kernel = points @ points.T
    kernel -= squares / 2
    kernel -= squares[:, None] / 2
    np.minimum(kernel, 0, out=kernel)
    np.exp(kernel, out=kernel)
    root = np.sqrt(kernel @ sizes)
    kernel *= sizes / root
    kernel /= root[:, None]
    return kernel


def smooth_kernel(label_map: npt.NDArray[np.int32], spread: float) -> Floats:
    """The narrow Gaussian between neighbouring pixels, averaged over the pixels of each superpixel.

    Entry ij is the mean over pixels p of i of the sum over pixels q of j of g(p - q), g summing to 1. Superpixels are
    wider than this Gaussian, so the places of their centres say nothing about it.

    Args:
        label_map: int32 [h, w], values 0 to N - 1, none missing.
        spread: standard deviation in pixels.

    Returns:
        float32 [N, N], rows that sum to 1.
    """
    from scipy.sparse import coo_array  # not loaded for --help

    sizes = np.bincount(label_map.ravel())
    count = len(sizes)
    reach = max(1, round(REACH * spread))
    offsets = [(dy, dx) for dy in range(reach + 1) for dx in range(-reach, reach + 1) if (dy, dx) > (0, 0)]
    weights = [float(np.exp(-(dy**2 + dx**2) / (2 * spread**2))) for dy, dx in offsets]
    total = 1 + 2 * sum(weights)
    firsts, seconds, shares = [], [], []
    for (dy, dx), weight in zip(offsets, weights, strict=True):
        here, there = _shifted(label_map, dy, dx)
        across = here != there
        firsts.append(here[across])
        seconds.append(there[across])
        shares.append(np.full(len(firsts[-1]), weight / total))
    where = np.concatenate(firsts), np.concatenate(seconds)
    square = coo_array((np.concatenate(shares), where), shape=(count, count)).toarray()  # sums what is in one place
    square = (square + square.T) / sizes[:, None]
    square[np.arange(count), np.arange(count)] = 1 - square.sum(axis=1)  # what stays inside, the picture's rim included
    return square.astype(np.float32)


def _shifted(label_map: npt.NDArray[np.int32], dy: int, dx: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Every pixel and the one dy >= 0 rows below and dx columns right of it, where both are in the picture."""
    height, width = label_map.shape
    left, right = max(0, -dx), width - max(0, dx)
    return label_map[: height - dy, left:right], label_map[dy:, left + dx : right + dx]


def _tiles(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of tiles: as square as can be, at most `MAX_SUPERPIXELS`, at least one."""
    side = max(LEAST_SIDE, (height * width / MAX_SUPERPIXELS) ** 0.5)
    rows = min(max(1, int(height / side)), MAX_SUPERPIXELS)
    return rows, min(max(1, int(width / side)), MAX_SUPERPIXELS // rows)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    belief: Floats = powers / powers.sum(axis=1, keepdims=True)
    return belief

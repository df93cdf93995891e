"""Dense CLIP vectors in which another network decides which patches belong together."""

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from encoders.presets import DenseMethod

BETA = 1.2  # affinities count from this many times the mean of all cosines of the picture
GAMMA = 3.0  # how sharply they count
QUERIES_AT_ONCE = 1024  # rows of the affinity in memory: it has the square of the number of patches


class Mixable(Protocol):
    """A CLIP tower whose last step can be given other weights: `ClipDense` or `ClipFeatureMap`."""

    dimension: int
    patch: int

    def values(self, picture: NDArray[np.uint8], window: int | None = None) -> Tensor:
        """What the last step averages: [rows, cols, V]."""
        ...

    def read_values(self, values: Tensor) -> Tensor:
        """Averaged values in the space shared with text: [n, V] to [n, D]."""
        ...

    def embed_whole(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The whole picture: float32 [D], unit length."""
        ...


class Features(Protocol):
    """A network that shows what looks alike: `PatchFeatures` or `FeatureMap`."""

    patch: int

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 [rows, cols, C]."""
        ...


class ProxyDense:
    """Dense vectors by ProxyCLIP: CLIP's values, mixed by the affinities of another network's patches.

    M. Lan, C. Chen, Y. Ke, X. Wang, L. Feng and W. Zhang, "ProxyCLIP: Proxy Attention Improves CLIP for Open-Vocabulary
    Segmentation", ECCV 2024, arXiv 2408.04883. With S the cosines between the features of all patches,

        A = softmax over keys of GAMMA (S - BETA mean(S)), negative entries left out,

    and the dense vectors are A V behind the last block's output projection, final norm and projection, without its
    residual and MLP. V are the values of CLIP's last block, all heads under one A, resized bilinearly to the grid of
    the other network, which the dense vectors have, too. Where an attentional pool reads the tokens (SigLIP), V are the
    pool's values, and A takes the place of its attention. A convolutional tower has no attention; its analogue is A
    applied to the dense vectors of its locations, unmeasured. One thing differs from the formula: a patch never leaves
    itself out, so that a picture which looks alike everywhere, with a mean(S) above 1 / BETA, divides nothing by zero.

    The features of the last picture are remembered by the other network, so that outlines and names made of one picture
    directly after another run it once.

    Attributes:
        dimension: D, channels of a dense vector, as many as a text vector of the same CLIP has.
        patch: pixels along the side of one cell of the grid, after resizing: the other network's.
        method: what made the vectors, for the outputs.
    """

    method = DenseMethod.PROXY.value
    dimension: int
    patch: int

    def __init__(self, clip: Mixable, features: Features, *, window: int | None = None) -> None:
        """Puts two networks together.

        Args:
            clip: the tower for names.
            features: the network for affinities, best the very object that outlines are made with.
            window: side in pixels, after resizing, of overlapping square windows through which a transformer sees the
                picture, each a third of a side behind the last; affinities stay those of the whole picture, as in
                GLA-CLIP (windows with global keys). None lets it see the picture at once. The short side is a good
                value: it changes nothing for square pictures.

        Raises:
            ValueError: the window is below 1.
        """
        if window is not None and window < 1:
            raise ValueError(f"window is {window} pixels, expected 1 or more, or None")
        self._clip = clip
        self._features = features
        self._window = window
        self.dimension = clip.dimension
        self.patch = features.patch

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One vector per patch of the other network.

        Args:
            picture: uint8 [H, W, 3], RGB, values 0 to 255, of any size.

        Returns:
            float32 [rows, cols, D], contiguous, not normalised; the grid of the features.

        Raises:
            ValueError: the picture has another layout or dtype, or no pixels.
        """
        features = torch.from_numpy(self._features.embed(picture))  # [rows, cols, C]
        rows, cols, channels = features.shape
        with torch.inference_mode():
            values = self._clip.values(picture, self._window)  # [r, c, V]
            spread = resized(values.float(), (rows, cols)).flatten(0, 1)  # [rows * cols, V]
            mixed = proxy_attention(features.reshape(-1, channels).to(spread.device), spread)
            dense = self._clip.read_values(mixed.to(values.dtype))
            vectors: NDArray[np.float32] = dense.reshape(rows, cols, -1).float().cpu().numpy()
        return vectors

    def embed_whole(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The CLIP's own vector of the whole picture: float32 [D], unit length."""
        return self._clip.embed_whole(picture)


def proxy_attention(features: Tensor, values: Tensor) -> Tensor:
    """A V, a band of queries at a time.

    Args:
        features: float32 [N, C], of the other network.
        values: float32 [N, V], of CLIP, at the same patches.

    Returns:
        float32 [N, V].
    """
    unit = F.normalize(features, dim=1)
    threshold = BETA * unit.mean(dim=0).square().sum()  # the mean of all cosines is the squared length of the mean
    mixed = []
    for start in range(0, len(unit), QUERIES_AT_ONCE):
        band = unit[start : start + QUERIES_AT_ONCE]
        affinity = (band @ unit.T - threshold) * GAMMA  # [n, N]
        left_out = affinity < 0
        left_out[torch.arange(len(band)), torch.arange(start, start + len(band))] = False
        mixed.append(affinity.masked_fill_(left_out, -torch.inf).softmax(dim=1) @ values)
    return torch.cat(mixed)


def resized(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """Values at the cells of another grid that covers the same picture: [r, c, V] to [*grid, V], bilinear."""
    if values.shape[:2] == grid:
        return values
    planes = values.permute(2, 0, 1)[None]
    return F.interpolate(planes, size=grid, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)

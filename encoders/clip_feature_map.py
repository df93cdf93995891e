"""One vector per location in the space that CLIP shares between pictures and text, from a convolutional tower."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.timm_model import TimmModel
from torch import Tensor, nn

from encoders.errors import UnsupportedTower, unsupported_vision
from encoders.feature_map import OUTPUT_STRIDE, FeatureMap
from encoders.masked_attention import subtraction
from encoders.pixels import SHORT_SIDE, PixelSpec
from encoders.segment_shares import checked_shares

POOLING_TOLERANCE = 0.02
"""Relative difference up to which two ways of computing a vector count as one; half precision needs most of it."""


class ClipFeatureMap:
    """Dense vectors of open_clip's `TimmModel` around a convolutional network.

    Such a tower averages its feature map over all locations and projects the mean into the space shared with text.
    Here every location goes through the same head alone. Where the head is linear, the mean of the dense vectors on
    the trained grid is the very vector that the tower gives the whole picture.

    As in B. Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, arXiv 1512.04150, where
    a classifier behind an average is applied to the locations one by one.

    Attributes:
        dimension: D, channels of a dense vector, as many as a text vector of the same model has.
        patch: pixels between the centres of neighbouring locations.
        method: what made the vectors, for the outputs.
        trunk: the feature map before the head; its features show what looks alike.
    """

    method = "feature-map"
    dimension: int
    patch: int
    trunk: FeatureMap

    def __init__(
        self,
        visual: nn.Module,
        pixels: PixelSpec,
        *,
        output_stride: int | None = OUTPUT_STRIDE,
        short_side: int = SHORT_SIDE,
        device: torch.device | str = "cpu",
    ) -> None:
        """Takes over a loaded tower: it is moved to the device and set to evaluation.

        Args:
            visual: `visual` of an open_clip model, around a timm convolutional network, with average pooling.
            pixels: mean, std and interpolation of the same weights; see `encoders.clip_dense.clip_pixels`.
            output_stride: pixels between neighbouring locations, where the architecture allows; None keeps its own.
            short_side: pixels that the short side of every picture is resized to, rounded to whole strides.
            device: where to compute.

        Raises:
            UnsupportedTower: the tower is of another kind; the message says which.
        """
        if not isinstance(visual, TimmModel):
            raise unsupported_vision(f"{type(visual).__module__.partition('.')[0]}'s {type(visual).__name__}")
        self._visual = visual.to(device).eval()
        try:
            self.trunk = FeatureMap(
                visual.trunk, pixels, output_stride=output_stride, short_side=short_side, device=device
            )
        except UnsupportedTower as error:
            raise unsupported_vision(f"open_clip's TimmModel, in which {error}") from error
        self.patch = self.trunk.patch
        self.dimension = self._checked_dimension()

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One vector per location.

        Args:
            picture: uint8 [H, W, 3], RGB, values 0 to 255, of any size.

        Returns:
            float32 [rows, cols, D], contiguous, not normalised; rows and cols as `grid_size` gives them for `patch`.

        Raises:
            ValueError: the picture has another layout or dtype, or no pixels.
        """
        with torch.inference_mode():
            vectors: NDArray[np.float32] = self.values(picture).float().cpu().numpy()
        return vectors

    def grid_of(self, picture: NDArray[np.uint8]) -> tuple[int, int]:
        """(rows, cols) of the locations that stand for a picture."""
        return self.trunk.grid_of(picture)

    def embed_whole(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the head makes of the mean of all locations, at the size and aspect that the locations have.

        Args:
            picture: uint8 [H, W, 3], RGB, values 0 to 255, of any size.

        Returns:
            float32 [D], unit length. With `output_stride=None` and a picture of the trained size it is what the tower
            says itself; on a finer grid it is the mean over more locations.

        Raises:
            ValueError: the picture has another layout or dtype, or no pixels.
        """
        with torch.inference_mode():
            mean = self.trunk.locations(picture).mean(dim=(0, 1))
            whole = self._head(mean[None, :, None, None])[0]
            vector: NDArray[np.float32] = F.normalize(whole.float(), dim=0).cpu().numpy()
        return vector

    def embed_segments(self, picture: NDArray[np.uint8], weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """One vector per segment: its mean, less a share of the picture's mean.

        An analogue of Zero-guidance Segmentation (`encoders.masked_attention`) for a tower without attention, not that
        method itself, and unmeasured: the mean of the dense vectors under the mask stands for the masked attention,
        their mean over the picture for the class token's row, and w is the same function of the cosine of the two.

        Args:
            picture: uint8 [H, W, 3], RGB, values 0 to 255, of any size.
            weights: float32 [S, rows, cols], 0 to 1, the share of each cell of `grid_of` that belongs to each segment.

        Returns:
            float32 [S, D], unit rows.

        Raises:
            ValueError: the weights are for another grid, out of range, or a segment has none.
        """
        shares = torch.from_numpy(checked_shares(weights, self.grid_of(picture)))  # [S, N]
        with torch.inference_mode():
            dense = self.values(picture).flatten(0, 1).float()  # [N, D]
            means = (shares / shares.sum(dim=1, keepdim=True)).to(dense.device) @ dense  # [S, D]
            whole = dense.mean(dim=0)
            weight = subtraction(F.cosine_similarity(means, whole[None], dim=1))
            unit: NDArray[np.float32] = F.normalize(means - weight[:, None] * whole, dim=1).cpu().numpy()
        return unit

    def values(self, picture: NDArray[np.uint8], window: int | None = None) -> Tensor:
        """The dense vectors themselves, for `ProxyDense`: [rows, cols, D], on the device.

        Args:
            picture: uint8 [H, W, 3], RGB, values 0 to 255, of any size.
            window: ignored: a convolution sees a large picture through windows anyway.

        Raises:
            ValueError: the picture has another layout or dtype, or no pixels.
        """
        locations = self.trunk.locations(picture)
        rows, cols, channels = locations.shape
        dense = self._head(locations.reshape(rows * cols, channels, 1, 1))  # each location a picture of its own
        return dense.reshape(rows, cols, -1)

    def read_values(self, values: Tensor) -> Tensor:
        """Averaged dense vectors are in the shared space already: [n, D] as they are."""
        return values

    def _head(self, maps: Tensor) -> Tensor:
        """The tower behind its feature map: [B, C, rows, cols] to [B, D]."""
        vectors: Tensor = self._visual.head(self._visual.trunk.forward_head(maps))
        return vectors

    def _checked_dimension(self) -> int:
        """D, after a look whether the head begins with an average: else it has no meaning for single locations."""
        generator = torch.Generator().manual_seed(0)
        maps = torch.randn(1, self.trunk.dimension, 2, 3, generator=generator).to(next(self._visual.parameters()))
        network = type(self._visual.trunk).__name__
        try:
            with torch.inference_mode():
                whole, averaged = self._head(maps), self._head(maps.mean(dim=(2, 3), keepdim=True))
        except (AssertionError, RuntimeError) as error:
            raise unsupported_vision(f"open_clip's TimmModel around a {network} whose head cannot be run") from error
        if whole.ndim != 2 or (whole - averaged).norm() > POOLING_TOLERANCE * whole.norm():
            raise unsupported_vision(
                f"open_clip's TimmModel around a {network} whose head does not begin with an average"
            )
        return int(whole.shape[1])

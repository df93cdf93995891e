"""The last feature map of a convolutional network: one vector per location of a picture, before any pooling."""

from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from encoders.errors import UnsupportedTower
from encoders.folded_network import folded
from encoders.last_picture import LastPicture
from encoders.loading import quiet
from encoders.pixels import SHORT_SIDE, PixelSpec, grid_size, to_network_input

OUTPUT_STRIDE = 16
"""Pixels between neighbouring vectors where the architecture allows; most networks were trained with 32."""

PROBE = (128, 192)
"""Height and width of the zeros whose map shows a network's stride: no network's trained size, and not square."""


class FeatureMap:
    """Feature maps of a timm convolutional network, on a finer grid than the one it was trained on.

    Pictures go through one at a time, so that features depend on nothing but the picture. The map of the last picture
    is remembered, because outlines and names may both be made from it.

    Attributes:
        dimension: C, channels of a location.
        patch: pixels between the centres of neighbouring locations, the network's stride.
    """

    dimension: int
    patch: int

    def __init__(
        self,
        network: nn.Module,
        pixels: PixelSpec,
        *,
        output_stride: int | None = OUTPUT_STRIDE,
        short_side: int = SHORT_SIDE,
        device: torch.device | str = "cpu",
    ) -> None:
        """Takes over a loaded network: it is moved to the device and set to evaluation.

        Args:
            network: a timm network whose `forward_features` gives [B, C, rows, cols] for pictures of any size.
            pixels: mean, std and interpolation of the same weights.
            output_stride: pixels between neighbouring locations, see `with_stride`; None keeps the network's own.
            short_side: pixels that the short side of every picture is resized to, rounded to whole strides.
            device: where to compute.

        Raises:
            UnsupportedTower: the network gives no such map, or was not made by timm from a name.
        """
        network = network.to(device).eval()
        self.network: Any = network if output_stride is None else with_stride(network, output_stride)
        self.patch, self.dimension = _layout_of(self.network)
        self._runs: Any = self.network
        self._pixels = pixels
        self._short_side = short_side
        self._locations = LastPicture(self._computed)

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One feature per location.

        Args:
            picture: uint8 [H, W, 3], RGB, values 0 to 255, of any size.

        Returns:
            float32 [rows, cols, C], contiguous, not normalised; rows and cols as `grid_size` gives them for `patch`.

        Raises:
            ValueError: the picture has another layout or dtype, or no pixels.
        """
        features: NDArray[np.float32] = self.locations(picture).float().cpu().numpy()
        return features.copy()  # what a caller does to it must not reach the remembered map

    def locations(self, picture: NDArray[np.uint8]) -> Tensor:
        """As `embed`, on the device and in the network's own precision: [rows, cols, C], not to be written to."""
        return self._locations(picture)

    def fold(self) -> None:
        """Have pictures seen by a faster copy of the network, where it can have one (`encoders.folded_network`)."""
        generator = torch.Generator().manual_seed(0)
        probe = torch.randn(1, 3, *PROBE, generator=generator).to(next(self.network.parameters()))
        self._runs = folded(self.network, probe)

    def grid_of(self, picture: NDArray[np.uint8]) -> tuple[int, int]:
        """(rows, cols) of the locations that stand for a picture."""
        return grid_size(picture.shape[0], picture.shape[1], self._short_side, self.patch)

    def _computed(self, picture: NDArray[np.uint8]) -> Tensor:
        network_input = to_network_input(picture, *self.grid_of(picture), self.patch, self._pixels)
        with torch.inference_mode():
            entering = torch.from_numpy(network_input)[None].to(next(self.network.parameters()))
            leaving = self._runs.forward_features(entering)[0]  # [C, rows, cols]
            locations: Tensor = leaving.permute(1, 2, 0).contiguous()
        return locations


def with_stride(network: nn.Module, output_stride: int) -> nn.Module:
    """The same network, with the same tensors, on a finer grid; the network itself where it cannot have one.

    Where the trained network skips every other location, this one computes all of them, and the kernels behind reach
    past the new ones: the à-trous algorithm. Locations that both compute are equal. Exceptions are networks that also
    average over the whole map, as squeeze-and-excitation does, and a stride of 8 in timm's ConvNeXt and MobileOne.

    L.-C. Chen, G. Papandreou, I. Kokkinos, K. Murphy and A. L. Yuille, "Semantic Image Segmentation with Deep
    Convolutional Nets and Fully Connected CRFs", ICLR 2015, arXiv 1412.7062.

    Args:
        network: made by timm from a name, which it keeps in `pretrained_cfg`; already on its device.
        output_stride: pixels between neighbouring locations: 8, 16 or 32.

    Returns:
        A network in evaluation mode that shares its tensors with the given one, or the given one if its architecture
        knows no other stride than its own.

    Raises:
        UnsupportedTower: the network was not made from a name alone, so that it cannot be made again.
    """
    made: Any = network
    kind = type(network).__name__
    name = (getattr(made, "pretrained_cfg", None) or {}).get("architecture")
    if not name:
        raise UnsupportedTower(
            f"{kind} does not say its timm name; only a network made by timm.create_model can be used"
        )
    with quiet():
        try:
            finer: nn.Module = timm.create_model(name, num_classes=made.num_classes, output_stride=output_stride)
        except (TypeError, AssertionError, NotImplementedError):  # timm's ways of saying that it takes no stride
            return network.eval()
    try:
        finer.load_state_dict(network.state_dict(), assign=True)
    except RuntimeError as error:
        raise UnsupportedTower(
            f"this {kind} was made with other options than timm's {name}, so it cannot be made again with a stride of "
            f"{output_stride}; keep its own with output_stride=None"
        ) from error
    return finer.eval()


def _layout_of(network: Any) -> tuple[int, int]:
    """(stride, channels) as a small picture shows them; timm's own records differ from family to family."""
    kind = f"{type(network).__module__.partition('.')[0]}'s {type(network).__name__}"
    asked = f"a picture of {PROBE[0]}x{PROBE[1]} pixels"
    expected = "expected a timm convolutional network (such as mobilenetv2_100, resnet50 or convnext_tiny)"
    zeros = torch.zeros(1, 3, *PROBE).to(next(network.parameters()))
    try:
        with torch.inference_mode():
            shape = tuple(network.forward_features(zeros).shape)
    except (AttributeError, AssertionError, RuntimeError, ValueError) as error:  # whatever timm's families raise
        raise UnsupportedTower(f"{kind} gives no features of {asked}; {expected}") from error
    stride = PROBE[0] // shape[2] if len(shape) == 4 else 0
    if shape[2:] != tuple(side // max(stride, 1) for side in PROBE) or shape[1] != network.num_features:
        raise UnsupportedTower(
            f"{kind} gives {list(shape)} for {asked}, not [1, {network.num_features}, rows, cols]; {expected}"
        )
    return stride, int(network.num_features)

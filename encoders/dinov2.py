"""One feature per patch from a self-supervised vision transformer, DINOv2 above all."""

from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from timm.data.config import resolve_model_data_config
from torch import nn

from encoders.blank import NothingRandom
from encoders.checkpoints import check_checkpoint, fill_from_elsewhere
from encoders.errors import EncoderError, UnsupportedTower
from encoders.last_picture import LastPicture
from encoders.loading import check_finite, explained, not_finite, quiet
from encoders.pixels import SHORT_SIDE, PixelSpec, grid_size, to_network_input
from encoders.presets import UNTRAINED
from encoders.untrained import untrained_dino


class PatchFeatures:
    """Patch features of a timm vision transformer.

    M. Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", 2023; T. Darcet et al., "Vision
    Transformers Need Registers", 2023. Pictures go through one at a time, so that features depend on nothing but the
    picture. Those of the last picture are remembered, because outlines and names may both be made from them.

    Attributes:
        dimension: C, channels of a feature.
        patch: pixels along the side of one patch.
    """

    dimension: int
    patch: int

    def __init__(
        self,
        network: nn.Module,
        pixels: PixelSpec,
        *,
        short_side: int = SHORT_SIDE,
        device: torch.device | str = "cpu",
    ) -> None:
        """Takes over a loaded network: it is moved to the device and set to evaluation.

        Args:
            network: made by `timm.create_model(..., num_classes=0, dynamic_img_size=True)`.
            pixels: mean, std and interpolation of the same weights; see `pixels_of`.
            short_side: pixels that the short side of every picture is resized to, rounded to whole patches.
            device: where to compute.

        Raises:
            UnsupportedTower: the network has no patch tokens or takes one picture size only.
        """
        self.patch, self.dimension = _layout_of(network)
        self.network: Any = network.to(device).eval()
        self._pixels = pixels
        self._short_side = short_side
        self._features = LastPicture(self._computed)

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One feature per patch, after the network's final norm.

        Args:
            picture: uint8 [H, W, 3], RGB, values 0 to 255, of any size.

        Returns:
            float32 [rows, cols, C], contiguous, not normalised to unit length; without class token and registers.

        Raises:
            ValueError: the picture has another layout or dtype, or no pixels.
        """
        return self._features(picture).copy()  # what a caller does to it must not reach the remembered features

    def _computed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows, cols = grid_size(picture.shape[0], picture.shape[1], self._short_side, self.patch)
        network_input = to_network_input(picture, rows, cols, self.patch, self._pixels)
        with torch.inference_mode():
            entering = torch.from_numpy(network_input)[None].to(next(self.network.parameters()))
            tokens = self.network.forward_features(entering)[0]  # [prefix + rows * cols, C]
            patches = tokens[self.network.num_prefix_tokens :]
            features: NDArray[np.float32] = patches.reshape(rows, cols, -1).float().cpu().numpy()
        return features


def pixels_of(network: nn.Module) -> PixelSpec:
    """Mean, std and interpolation from the configuration that timm keeps with every network.

    Args:
        network: any timm network.

    Raises:
        EncoderError: the configuration is not three channels and a filter we have.
    """
    recorded = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    return PixelSpec.parse(recorded["mean"], recorded["std"], recorded["interpolation"])


def has_patch_tokens(network: nn.Module) -> bool:
    """Whether a timm network is a transformer whose tokens stand for patches, so that `PatchFeatures` may run it."""
    return hasattr(network, "num_prefix_tokens") and hasattr(network, "patch_embed")


def _layout_of(network: Any) -> tuple[int, int]:
    """(patch, dimension) of a network that this adapter can run; timm's transformers share no base class to ask for."""
    name = type(network).__name__
    if not has_patch_tokens(network):
        raise UnsupportedTower(
            f"{name} has no patch tokens; expected a timm vision transformer (such as vit_base_patch14_reg4_dinov2)"
        )
    if not getattr(network, "dynamic_img_size", False):
        raise UnsupportedTower(
            f"{name} takes one picture size only, and pictures come in all; name another timm model, such as "
            f"vit_base_patch14_reg4_dinov2 (in Python, one created with dynamic_img_size=True)"
        )
    height, width = network.patch_embed.feat_ratio(as_scalar=False)  # with the stride of a stem
    if height != width:
        raise UnsupportedTower(f"{name} has patches of {height}x{width} pixels; expected square ones")
    return int(height), int(network.num_features)


def load_dino(name: str, checkpoint: Path | None = None) -> Any:
    """Load a timm network that takes pictures of any size, in evaluation mode, float32.

    Args:
        name: a timm model, for example `vit_base_patch14_reg4_dinov2.lvd142m` or `resnet50.a1_in1k`, or `untrained`.
        checkpoint: a local safetensors or weights-only file that replaces the download.

    Raises:
        EncoderError: timm knows no such model, or the checkpoint does not fit it or holds what is no number.
        WeightsMissing: the weights are not on this machine and no hub can be reached.
    """
    check_checkpoint(checkpoint, name, "--dino-checkpoint")
    if name == UNTRAINED:
        return untrained_dino()
    if not timm.is_model(name.partition(".")[0]):
        raise EncoderError(f"--dino {name}: timm knows no such model; `timm.list_models('*dinov2*')` lists some")
    wanted = str(checkpoint or _dino_file(name))
    said = explained(f"DINOv2 {name}", wanted, "--dino-checkpoint")
    with quiet(), said, NothingRandom():
        network = _created(name, pretrained=True) if checkpoint is None else _from_file(name, checkpoint)
    check_finite(network, f"DINOv2 {name}, {wanted}", "--dino-checkpoint")
    return network.eval()


def _from_file(name: str, checkpoint: Path) -> Any:
    """A network from a file, also where its weights lie elsewhere in it than timm looks for them."""
    try:
        network = _created(name, pretrained=True, pretrained_cfg_overlay={"file": str(checkpoint)})
    except Exception:  # of the names that are missing, or of whatever came of them
        network = _created(name, pretrained=False)
        if not fill_from_elsewhere(network, checkpoint, "--dino-checkpoint"):
            raise
        return network
    if not_finite(network) is not None:  # timm forgives what is missing for networks that have a classifier
        fill_from_elsewhere(network, checkpoint, "--dino-checkpoint")
    return network


def _created(name: str, **options: Any) -> Any:
    """Transformers must be told that pictures come in all sizes; convolutional networks know no such option."""
    try:
        return timm.create_model(name, dynamic_img_size=True, num_classes=0, **options)
    except TypeError:
        return timm.create_model(name, num_classes=0, **options)


def _dino_file(name: str) -> str:
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # the architecture is known, its weights' name is not
        names = ", ".join(timm.list_pretrained(name.partition(".")[0] + ".*"))
        raise EncoderError(f"--dino {name}: no such weights; there are: {names}") from error
    return f"{config.hf_hub_id}/model.safetensors" if config and config.hf_hub_id else name

"""One vector per patch in the space that CLIP shares between pictures and text."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip import get_model_preprocess_cfg
from open_clip.transform import PreprocessCfg
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from encoders.attention import METHODS
from encoders.errors import unsupported_vision
from encoders.pixels import SHORT_SIDE, PixelSpec, grid_size, to_network_input
from encoders.presets import DenseMethod

GRIDS_REMEMBERED = 8  # position embeddings of a long tower are megabytes, and folders hold few aspects at a time


class ClipDense:
    """Dense vectors of open_clip's `VisionTransformer`.

    Pictures go through one at a time, because the order in which a processor adds up numbers may depend on the size of
    a batch, and vectors must depend on nothing but the picture.

    Attributes:
        dimension: D, channels of a dense vector, as many as a text vector of the same model has.
        patch: pixels along the side of one patch.
        method: what made the vectors, for the outputs.
    """

    dimension: int
    patch: int
    method: str

    def __init__(
        self,
        visual: VisionTransformer,
        pixels: PixelSpec,
        method: DenseMethod,
        *,
        short_side: int = SHORT_SIDE,
        device: torch.device | str = "cpu",
    ) -> None:
        """Takes over a loaded tower: it is moved to the device and set to evaluation.

        Args:
            visual: `visual` of an open_clip model, class token only, learned or fixed absolute positions.
            pixels: mean, std and interpolation of the same weights; see `clip_pixels`.
            method: how the last blocks are rewritten.
            short_side: pixels that the short side of every picture is resized to, rounded to whole patches.
            device: where to compute.

        Raises:
            UnsupportedTower: the tower is of another kind; the message says which.
        """
        _check_tower(visual)
        self._visual = visual.to(device).eval()
        self._pixels = pixels
        self.method = method.value
        self._rewritten = METHODS[method]
        self._short_side = short_side
        self._positions = lru_cache(maxsize=GRIDS_REMEMBERED)(self._resampled_positions)
        self.patch = visual.patch_size[0]
        self.dimension = visual.ln_post.weight.shape[0] if visual.proj is None else visual.proj.shape[1]

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One vector per patch.

        Args:
            picture: uint8 [H, W, 3], RGB, values 0 to 255, of any size.

        Returns:
            float32 [rows, cols, D], contiguous, not normalised; rows and cols as `grid_size` gives them.

        Raises:
            ValueError: the picture has another layout or dtype, or no pixels.
        """
        rows, cols = grid_size(picture.shape[0], picture.shape[1], self._short_side, self.patch)
        network_input = to_network_input(picture, rows, cols, self.patch, self._pixels)
        with torch.inference_mode():
            entering = self._tokens(torch.from_numpy(network_input)[None], (rows, cols))  # [1, 1 + rows * cols, W]
            leaving = self._rewritten(self._visual.transformer.resblocks, entering)
            dense = self._visual.ln_post(leaving[0, 1:])
            if self._visual.proj is not None:
                dense = dense @ self._visual.proj
            vectors: NDArray[np.float32] = dense.reshape(rows, cols, -1).float().cpu().numpy()
        return vectors

    def _tokens(self, network_input: Tensor, grid: tuple[int, int]) -> Tensor:
        """[1, 3, rows * patch, cols * patch] to the input of the first block, [1, 1 + rows * cols, W]."""
        visual = self._visual
        patches = visual.conv1(network_input.to(visual.conv1.weight))  # [1, W, rows, cols]
        patches = patches.flatten(2).transpose(1, 2)
        class_token = visual.class_embedding.to(patches.dtype).expand(1, 1, -1)
        tokens: Tensor = visual.ln_pre(torch.cat([class_token, patches], dim=1) + self._positions(grid))
        return tokens

    def _resampled_positions(self, grid: tuple[int, int]) -> Tensor:
        positions = self._visual.positional_embedding
        resampled = resample_positions(positions, self._visual.grid_size, grid)
        return resampled.to(self._visual.conv1.weight.dtype)


def resample_positions(positions: Tensor, trained: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Position embeddings for another grid: bicubic with antialiasing, computed in float32, as open_clip loads them.

    Args:
        positions: [1 + rows * cols, W] of the trained grid, class token first.
        trained: (rows, cols) of that grid.
        grid: (rows, cols) wanted.

    Returns:
        float32 [1 + rows * cols, W] of the wanted grid; the class token's own is untouched.
    """
    positions = positions.float()
    if tuple(trained) == tuple(grid):
        return positions
    planes = positions[1:].T.reshape(1, -1, *trained)  # [1, W, rows, cols]
    planes = F.interpolate(planes, size=grid, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:1], planes[0].flatten(1).T])


def clip_pixels(visual: nn.Module) -> PixelSpec:
    """What open_clip recorded about the pixels of a tower; where it recorded nothing, OpenAI's mean and std, bicubic.

    Args:
        visual: `visual` of an open_clip model, of any kind.

    Raises:
        EncoderError: what is recorded is not three channels and a filter we have.
    """
    recorded = PreprocessCfg(**get_model_preprocess_cfg(visual))
    return PixelSpec.parse(recorded.mean, recorded.std, recorded.interpolation)


def _check_tower(visual: VisionTransformer) -> None:
    """Refuses towers whose tokens or blocks are not laid out as the methods expect."""
    if not isinstance(visual, VisionTransformer):
        library = type(visual).__module__.partition(".")[0]
        _refuse(f"{library}'s {type(visual).__name__}")
    if visual.attn_pool is not None:
        _refuse("a VisionTransformer with attentional pooling, whose projection does not apply to single patches")
    if visual.patch_size[0] != visual.patch_size[1]:
        _refuse(f"a VisionTransformer with patches of {visual.patch_size[0]}x{visual.patch_size[1]}")
    if len(visual.positional_embedding) != 1 + visual.grid_size[0] * visual.grid_size[1]:
        _refuse(f"{len(visual.positional_embedding)} positions for a grid of {visual.grid_size} and a class token")
    _check_blocks(visual.transformer.resblocks)


def _check_blocks(blocks: Sequence[nn.Module]) -> None:
    foreign = {type(block).__name__ for block in blocks if not isinstance(block, ResidualAttentionBlock)}
    if foreign or not len(blocks):
        _refuse(f"a VisionTransformer made of {', '.join(sorted(foreign)) or 'no blocks'}")


def _refuse(found: str) -> None:
    raise unsupported_vision(found)

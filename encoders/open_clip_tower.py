"""open_clip's own `VisionTransformer`: the towers of OpenAI, LAION, DataComp, MetaCLIP, DFN and CLIPA."""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from encoders.blocks import OpenClipBlock, Stream, apart
from encoders.errors import unsupported_vision

GRIDS_REMEMBERED = 8  # position embeddings of a long tower are megabytes, and folders hold few aspects at a time


class OpenClipTower:
    """As `encoders.tower.Tower`; the class token, or the mean of the patches, is read out."""

    prefix = 1
    class_token = True
    attention_pool = False

    def __init__(self, visual: VisionTransformer) -> None:
        """Takes a tower with a class token, and learned or fixed absolute positions.

        Raises:
            UnsupportedTower: the tower is of another kind; the message says which.
        """
        _check(visual)
        self._visual = visual
        self._blocks = [OpenClipBlock(block) for block in visual.transformer.resblocks]
        self._positions = lru_cache(maxsize=GRIDS_REMEMBERED)(self._resampled_positions)
        self.patch = int(visual.patch_size[0])
        self.dimension = visual.ln_post.weight.shape[0] if visual.proj is None else visual.proj.shape[1]

    def enter(self, network_input: Tensor, grid: tuple[int, int]) -> Stream:
        """As `Tower.enter`."""
        visual = self._visual
        patches = visual.conv1(network_input.to(visual.conv1.weight))  # [1, W, rows, cols]
        patches = patches.flatten(2).transpose(1, 2)
        class_token = visual.class_embedding.to(patches.dtype).expand(1, 1, -1)
        tokens = visual.ln_pre(torch.cat([class_token, patches], dim=1) + self._positions(grid))
        return Stream(self._blocks, tokens)

    def read(self, tokens: Tensor) -> Tensor:
        """As `Tower.read`."""
        normed = self._visual.ln_post(tokens)
        return normed if self._visual.proj is None else normed @ self._visual.proj

    def read_whole(self, tokens: Tensor) -> Tensor:
        """As `Tower.read_whole`."""
        return self.read_segments(tokens, torch.ones_like(tokens[..., 0]))

    def read_segments(self, tokens: Tensor, shares: Tensor) -> Tensor:
        """As `Tower.read_segments`: the class token, or, where patches are averaged, their mean under the mask."""
        visual = self._visual
        if visual.pool_type == "tok":
            return self.read(tokens[:, 0])
        if visual.final_ln_after_pool:
            return self.read(masked_mean(tokens[:, 1:], shares[:, 1:]))
        mean = masked_mean(visual.ln_post(tokens[:, 1:]), shares[:, 1:])
        return mean if visual.proj is None else mean @ visual.proj

    def values(self, stream: Stream) -> Tensor:
        """As `Tower.values`."""
        return block_values(stream)[self.prefix :]

    def read_values(self, values: Tensor) -> Tensor:
        """As `Tower.read_values`."""
        last = self._visual.transformer.resblocks[-1]
        heads = apart(values, last.attn.num_heads)[None]  # [1, H, n, d]
        return self.read(self._blocks[-1].joined(heads)[0])

    def _resampled_positions(self, grid: tuple[int, int]) -> Tensor:
        positions = self._visual.positional_embedding
        resampled = resample_positions(positions, self._visual.grid_size, grid)
        return resampled.to(self._visual.conv1.weight.dtype)


def block_values(stream: Stream) -> Tensor:
    """Every token's value in the last block, heads side by side: one picture's stream to [T, W]."""
    last = stream.blocks[-1]
    _, _, value = last.query_key_value(last.normed(stream.before(len(stream.blocks) - 1)))
    return value[0].transpose(0, 1).flatten(1)


def masked_mean(tokens: Tensor, shares: Tensor) -> Tensor:
    """[S, N, W] weighted by [S, N] to [S, W]."""
    weights = (shares / shares.sum(dim=1, keepdim=True)).to(tokens.dtype)
    return torch.einsum("sn,snw->sw", weights, tokens)


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


def _check(visual: VisionTransformer) -> None:
    """Refuses towers whose tokens or blocks are not laid out as the methods expect."""
    if visual.attn_pool is not None:
        _refuse("a VisionTransformer with attentional pooling, whose projection does not apply to single patches")
    if visual.pool_type not in ("tok", "avg"):
        _refuse(f"a VisionTransformer with pooling {visual.pool_type!r}")
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

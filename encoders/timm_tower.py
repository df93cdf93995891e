"""open_clip's `TimmModel` around a vision transformer of timm: SigLIP, EVA02, MobileCLIP-B, Perception Encoder."""

from threading import Lock
from typing import Any

import torch
from open_clip.timm_model import TimmModel
from timm.layers.attention_pool import AttentionPoolLatent
from timm.layers.format import Format
from torch import Tensor, nn

from encoders.blocks import Stream, apart, side_by_side, timm_block
from encoders.errors import unsupported_vision
from encoders.masked_attention import attend
from encoders.open_clip_tower import block_values, masked_mean

TOLERANCE = 0.02
"""Relative difference up to which two ways of computing a vector count as one; half precision needs most of it."""


class TimmTower:
    """As `encoders.tower.Tower`; a class token, the mean of the patches or an attentional pool is read out.

    Where an attentional pool with a learned query reads the tokens (SigLIP), a patch alone passes through the pool as
    the only token there is: its value, the output projection and the pool's MLP. That is what MaskCLIP does to the
    last attention of a tower with a class token.
    """

    def __init__(self, visual: TimmModel) -> None:
        """Takes a tower, tells it to accept pictures of any size, and compares a small picture with timm's own run.

        Args:
            visual: around a timm network with patch tokens, in evaluation mode.

        Raises:
            UnsupportedTower: its blocks or its read-out work otherwise; the message says which.
        """
        trunk: Any = visual.trunk
        _check(visual)
        _accept_any_size(trunk)
        self._visual = visual
        self._trunk: Any = trunk
        self._pool: Any = trunk.attn_pool
        self._placing = Lock()  # angles are kept in the network, which several threads may see pictures with
        self.patch = int(trunk.patch_embed.feat_ratio())
        self.prefix = int(trunk.num_prefix_tokens)
        self.class_token = trunk.cls_token is not None
        self.attention_pool = self._pool is not None
        self.dimension = self._checked_dimension()

    def enter(self, network_input: Tensor, grid: tuple[int, int]) -> Stream:
        """As `Tower.enter`."""
        trunk = self._trunk
        rotary = getattr(trunk, "rope", None)
        patches = trunk.patch_embed(network_input.to(next(trunk.parameters())))  # [1, rows, cols, W]
        with self._placing:
            if rotary is not None and hasattr(rotary, "update_feat_shape"):
                rotary.update_feat_shape(list(grid))  # of those that keep their angles; others make them for each grid
            placed = trunk._pos_embed(patches)
        tokens, angles = placed if isinstance(placed, tuple) else (placed, None)
        return Stream([timm_block(block, angles) for block in trunk.blocks], trunk.norm_pre(tokens))

    def read(self, tokens: Tensor) -> Tensor:
        """As `Tower.read`."""
        normed = self._trunk.norm(tokens)
        return self._headed(self._pool(normed[:, None]) if self.attention_pool else normed)

    def read_whole(self, tokens: Tensor) -> Tensor:
        """As `Tower.read_whole`."""
        return self._visual.head(self._trunk.forward_head(self._trunk.norm(tokens)))

    def read_segments(self, tokens: Tensor, shares: Tensor) -> Tensor:
        """As `Tower.read_segments`; an attentional pool looks through the mask as the blocks do."""
        normed = self._trunk.norm(tokens)
        # EVA's networks have no such switch: their pool sees the class token, their mean does not.
        all_tokens = getattr(self._trunk, "pool_include_prefix", self.attention_pool)
        start = 0 if all_tokens else self.prefix
        if self.attention_pool:
            return self._headed(self._pooled_under(normed[:, start:], shares[:, start:]))
        if self._trunk.global_pool == "token":
            return self._headed(normed[:, 0])
        return self._headed(masked_mean(normed[:, start:], shares[:, start:]))

    def values(self, stream: Stream) -> Tensor:
        """As `Tower.values`: of the pool where there is one, else of the last block."""
        if not self.attention_pool:
            return block_values(stream)[self.prefix :]
        normed = self._trunk.norm(stream.leaving[0, self.prefix :])
        return self._pool.kv(normed).chunk(2, dim=-1)[1]

    def read_values(self, values: Tensor) -> Tensor:
        """As `Tower.read_values`."""
        if self.attention_pool:
            return self._headed(self._pool_leaving(values))
        heads = apart(values, self._trunk.blocks[-1].attn.num_heads)[None]  # [1, H, n, d]
        return self.read(timm_block(self._trunk.blocks[-1]).joined(heads)[0])

    def _pooled_under(self, normed: Tensor, shares: Tensor) -> Tensor:
        """The pool's attention, masked: [S, T, W] to [S, W]; its learned query takes the class token's place."""
        pool = self._pool
        sides = (pool.q(pool.latent).expand(len(normed), -1, -1), *pool.kv(normed).chunk(2, dim=-1))
        query, key, value = (apart(side, pool.num_heads) for side in sides)
        mixed = attend(pool.q_norm(query), pool.k_norm(key), value, shares, class_token=True)
        return self._pool_leaving(side_by_side(mixed)[:, 0])

    def _pool_leaving(self, mixed: Tensor) -> Tensor:
        """The pool behind its attention: [n, V] to [n, W]."""
        pool = self._pool
        leaving = pool.proj(mixed)
        return leaving if pool.mlp is None else leaving + pool.mlp(pool.norm(leaving))

    def _headed(self, pooled: Tensor) -> Tensor:
        """The heads behind any pooling, timm's and open_clip's: [n, W] to [n, D]."""
        trunk = self._trunk
        return self._visual.head(trunk.head(trunk.head_drop(trunk.fc_norm(pooled))))

    def _checked_dimension(self) -> int:
        """D, after a look whether the tower taken apart still says what timm's own run says."""
        grid = (2, 3)
        size = (grid[0] * self.patch, grid[1] * self.patch)
        noise = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
        noise = noise.to(next(self._trunk.parameters()))
        found = f"open_clip's TimmModel around a {type(self._trunk).__name__}"
        try:
            with torch.inference_mode():
                stream = self.enter(noise, grid)
                ours, theirs = self.read_whole(stream.leaving), self._visual(noise)
                alone = self.read_values(self.values(stream))
        except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise unsupported_vision(f"{found} that cannot be taken apart for pictures of other sizes") from error
        if alone.shape != (grid[0] * grid[1], ours.shape[1]) or (ours - theirs).norm() > TOLERANCE * theirs.norm():
            raise unsupported_vision(f"{found} whose blocks work otherwise than timm's Block and EvaBlock")
        return int(ours.shape[1])


def _accept_any_size(trunk: Any) -> None:
    """What `dynamic_img_size=True` does when timm creates a network: positions are resampled for every picture."""
    trunk.dynamic_img_size = True
    trunk.patch_embed.strict_img_size = False
    trunk.patch_embed.flatten = False
    trunk.patch_embed.output_fmt = Format.NHWC


def _check(visual: TimmModel) -> None:
    """Refuses what is known to differ by its name; the comparison with timm's own run finds the rest."""
    trunk: Any = visual.trunk
    found = f"open_clip's TimmModel around a {type(trunk).__name__}"
    if not hasattr(trunk, "dynamic_img_size") or not len(getattr(trunk, "blocks", ())):
        raise unsupported_vision(f"{found}, which has no blocks or takes one picture size only")
    pool = getattr(trunk, "attn_pool", None)
    if pool is not None and (not isinstance(pool, AttentionPoolLatent) or pool.pos_embed is not None):
        raise unsupported_vision(f"{found} pooled by a {type(pool).__name__} with positions or of an unknown kind")
    if pool is None and trunk.global_pool not in ("token", "avg"):
        raise unsupported_vision(f"{found} with pooling {trunk.global_pool!r}")
    _check_attention(found, trunk.blocks)


def _check_attention(found: str, blocks: nn.Module) -> None:
    for block in blocks.children():
        attn: Any = getattr(block, "attn", None)
        if getattr(attn, "gate", None) is not None:
            raise unsupported_vision(f"{found} with gated attention")
        if getattr(attn, "num_kv_heads", getattr(attn, "num_heads", 0)) != getattr(attn, "num_heads", 0):
            raise unsupported_vision(f"{found} in which heads share keys")

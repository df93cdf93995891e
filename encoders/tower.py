"""One face for the image transformers of CLIPs, whichever library built them."""

from typing import Protocol

from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from encoders.blocks import Stream
from encoders.dinov2 import has_patch_tokens
from encoders.errors import unsupported_vision
from encoders.open_clip_tower import OpenClipTower
from encoders.timm_tower import TimmTower


class Tower(Protocol):
    """An image transformer and its read-out into the space shared with text.

    T tokens are N patches behind a few others (the prefix), of which the first, where there is one, stands for the
    whole picture. V channels make a value of the tower's last attention over patches: the last block's, or that of an
    attentional pool, which in towers that have one does what the class token's last attention does in others.

    Attributes:
        patch: pixels along the side of one patch.
        dimension: D, channels of the shared space.
        prefix: tokens before the patches.
        class_token: whether token 0 stands for the whole picture.
        attention_pool: whether an attentional pool reads the tokens.
    """

    patch: int
    dimension: int
    prefix: int
    class_token: bool
    attention_pool: bool

    def enter(self, network_input: Tensor, grid: tuple[int, int]) -> Stream:
        """A picture, [1, 3, rows * patch, cols * patch], at its entry into the blocks, with positions for its grid."""
        ...

    def read(self, tokens: Tensor) -> Tensor:
        """Each token alone: [n, W] behind the blocks to [n, D]."""
        ...

    def read_whole(self, tokens: Tensor) -> Tensor:
        """What the tower was trained to say: [B, T, W] behind the blocks to [B, D]."""
        ...

    def read_segments(self, tokens: Tensor, shares: Tensor) -> Tensor:
        """The same through masks: [S, T, W] behind masked blocks and shares [S, T], 0 to 1, to [S, D]."""
        ...

    def values(self, stream: Stream) -> Tensor:
        """Each patch's value in the last attention, heads side by side: [N, V]."""
        ...

    def read_values(self, values: Tensor) -> Tensor:
        """What the last attention makes of mixed values, without residual: [n, V] to [n, D]."""
        ...


def is_transformer(visual: nn.Module) -> bool:
    """Whether an open_clip image tower is made of patch tokens, so that `tower_of` should be asked for it."""
    return isinstance(visual, VisionTransformer) or (isinstance(visual, TimmModel) and has_patch_tokens(visual.trunk))


def tower_of(visual: nn.Module) -> Tower:
    """The tower behind one face.

    Args:
        visual: `visual` of an open_clip model, in evaluation mode; one of timm is told to take pictures of any size.

    Raises:
        UnsupportedTower: it is no transformer, or one that works otherwise; the message says which.
    """
    if isinstance(visual, VisionTransformer):
        return OpenClipTower(visual)
    if isinstance(visual, TimmModel) and has_patch_tokens(visual.trunk):
        return TimmTower(visual)
    raise unsupported_vision(f"{type(visual).__module__.partition('.')[0]}'s {type(visual).__name__}")

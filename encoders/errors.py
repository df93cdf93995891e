"""What can be wrong with a network or its weights."""

from shards import UserError


class EncoderError(UserError):
    """A network cannot be found, loaded or used; the message says what was wanted and how to go on."""


class WeightsMissing(EncoderError):
    """Weights are neither on this machine nor to be had from a hub now."""


class UnsupportedTower(EncoderError):
    """The network has no tower of the kind that is needed."""


def unsupported_vision(found: str) -> UnsupportedTower:
    """What to raise for an image tower that gives no dense vectors.

    Args:
        found: what the tower is, to follow "the vision tower is".
    """
    return UnsupportedTower(
        f"the vision tower is {found}; dense vectors need open_clip's VisionTransformer with square patches, one class "
        "token, ResidualAttentionBlocks and no attentional pooling (such as ViT-B-16 or ViT-L-14), its TimmModel "
        "around a plain vision transformer (such as ViT-B-16-SigLIP, EVA02-B-16 or MobileCLIP-B), or its TimmModel "
        "around a convolutional network with average pooling (such as mobilenetv2_100, resnet50 or convnext_base)"
    )

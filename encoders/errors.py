"""What can be wrong with a network or its weights."""

from shards import UserError


class EncoderError(UserError):
    """A network cannot be found, loaded or used; the message says what was wanted and how to go on."""


class WeightsMissing(EncoderError):
    """Weights are neither on this machine nor to be had from a hub now."""


class UnsupportedTower(EncoderError):
    """The network has no tower of the kind that is needed."""

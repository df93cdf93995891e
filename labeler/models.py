"""The two networks of a labeler, loaded as an index asks for them."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from encoders.presets import CLIP_TRUNK, CUSTOM, PRESETS, DenseMethod, PresetName
from labeler.config import LabelerConfig
from labeler.retriever import Retriever
from segmenter import DenseEncoder
from shards import EncoderMismatch


class Clip(Protocol):
    """A CLIP's image tower, which sees wholes and not only cells."""

    def embed_whole(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A picture uint8 [H, W, 3] as one vector: float32 [D], unit length."""
        ...

    def grid_of(self, picture: NDArray[np.uint8]) -> tuple[int, int]:
        """(rows, cols) of the cells in which it sees a picture."""
        ...

    def embed_segments(self, picture: NDArray[np.uint8], weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Segments through their masks, shares of cells [S, rows, cols]: float32 [S, D], unit rows."""
        ...


class Threads(Protocol):
    """How many pictures are seen at a time, and on how many threads each."""

    workers: int

    def start(self) -> None:
        """To be called once in every thread that sees pictures beside the main one."""
        ...

    def limited(self) -> AbstractContextManager[None]:
        """Pictures are seen inside this."""
        ...


class OneAtATime:
    """Pictures are seen one at a time, on whatever threads there are."""

    workers = 1

    def start(self) -> None:
        """There is nothing to do."""

    def limited(self) -> AbstractContextManager[None]:
        """Nothing is limited."""
        return nullcontext()


@dataclass(frozen=True)
class Models:
    """What sees the picture.

    Attributes:
        patch_features: DINOv2, or the CLIP's own feature map, for outlines.
        clip_dense: CLIP, for names.
        preset: the pair's name, shown in every output.
        description: one readable line each, for the outputs.
        clip: the tower behind `clip_dense`, which sees whole pictures, too; None if nothing shall.
        masked: whether segments are seen through `clip`'s masks instead of through `clip_dense`.
        short_side: pixels of a picture's short side inside the networks, for the outputs; None if they have no such.
        threads: how many pictures are seen at a time.
    """

    patch_features: DenseEncoder
    clip_dense: DenseEncoder
    preset: str
    description: dict[str, str]
    clip: Clip | None = None
    masked: bool = False
    short_side: int | None = None
    threads: Threads = OneAtATime()  # noqa: RUF009


def load_models(retriever: Retriever, config: LabelerConfig) -> Models:
    """Load the CLIP that made the index and what goes with it for outlines.

    Raises:
        EncoderError: a network cannot be loaded; the message says how to go on.
        EncoderMismatch: the CLIP is not the one that made the index.
    """
    from encoders.dense import EncoderConfig, load_encoders  # torch loads here, once the index is known to be sound
    from encoders.device_memory import enough_for
    from encoders.identity import identify, source_of
    from encoders.loading import pick_device
    from encoders.threads import PictureThreads
    from encoders.weights import clip_tokenizer, load_clip

    preset = preset_of(retriever, config)
    custom = config.preset is None and retriever.indexes[0].manifest.preset == CUSTOM
    device = pick_device(config.device)
    source = source_of(retriever.encoder, config.clip_checkpoint)
    clip = load_clip(source)
    identity = identify(clip, clip_tokenizer(source))
    retriever.require(identity)
    name = config.dino or PRESETS[preset].dino
    dense = config.recipe.dense
    if config.dense is None and dense is DenseMethod.PROXY and name == CLIP_TRUNK:
        dense = DenseMethod.OWN  # a network's own affinities tell it nothing new, and measured no better
    short_side = config.short_side or PRESETS[preset].short_side
    wanted = EncoderConfig(
        dino=name,
        dino_checkpoint=config.dino_checkpoint,
        dense=dense,
        window=config.window,
        short_side=short_side,
        device=device,
    )
    with enough_for("these networks", device, "use another GPU, or --device cpu"):
        encoders = load_encoders(clip.network.visual, wanted)
    masked = dense is DenseMethod.MASKED
    return Models(
        patch_features=encoders.features,
        clip_dense=encoders.dense,
        preset=CUSTOM if custom else preset.value,
        description={
            "clip": identity.describe(),
            "dino": name,
            "dense": dense.value if masked else encoders.dense.method,
            "networks": encoders.digest,
        },
        clip=encoders.clip,
        masked=masked,
        short_side=short_side,
        threads=PictureThreads([clip.network.visual, encoders.features.network], device),
    )


def preset_of(retriever: Retriever, config: LabelerConfig) -> PresetName:
    """The preset: as asked for, else the index's; an index of another CLIP takes the default DINOv2.

    Raises:
        EncoderMismatch: the preset that was asked for has another CLIP than the index.
    """
    recorded = retriever.indexes[0].manifest.preset
    if config.preset is None:
        return next((name for name in PresetName if name.value == recorded), PresetName.DEFAULT)
    architecture = PRESETS[config.preset].clip.partition("/")[0]
    if architecture != retriever.encoder.architecture:
        raise EncoderMismatch(
            f"{retriever.indexes[0].folder} holds vectors of {retriever.encoder.describe()}, but --preset "
            f"{config.preset.value} has {PRESETS[config.preset].clip}; leave --preset out, or build an index with it"
        )
    return config.preset

"""The two networks of a labeler, loaded as an index asks for them."""

from dataclasses import dataclass

from encoders.presets import PRESETS, PresetName
from labeler.config import LabelerConfig
from labeler.retriever import Retriever
from segmenter import DenseEncoder
from shards import EncoderMismatch


@dataclass(frozen=True)
class Models:
    """What sees the picture.

    Attributes:
        patch_features: DINOv2, or the CLIP's own feature map, for outlines.
        clip_dense: CLIP, for names.
        preset: the pair's name, shown in every output.
        description: one readable line each, for the outputs.
    """

    patch_features: DenseEncoder
    clip_dense: DenseEncoder
    preset: str
    description: dict[str, str]


def load_models(retriever: Retriever, config: LabelerConfig) -> Models:
    """Load the CLIP that made the index and what goes with it for outlines.

    Raises:
        EncoderError: a network cannot be loaded; the message says how to go on.
        EncoderMismatch: the CLIP is not the one that made the index.
    """
    from encoders.dense import clip_vectors, patch_features  # torch loads here, once the index is known to be sound
    from encoders.identity import identify, source_of
    from encoders.loading import pick_device
    from encoders.weights import clip_tokenizer, load_clip

    preset = preset_of(retriever, config)
    device = pick_device(config.device)
    source = source_of(retriever.encoder, config.clip_checkpoint)
    clip = load_clip(source)
    identity = identify(clip, clip_tokenizer(source))
    retriever.require(identity)
    name = config.dino or PRESETS[preset].dino
    dense = clip_vectors(clip.network.visual, config.dense, short_side=config.short_side, device=device)
    return Models(
        patch_features=patch_features(name, dense, config.dino_checkpoint, short_side=config.short_side, device=device),
        clip_dense=dense,
        preset=preset.value,
        description={"clip": identity.describe(), "dino": name, "dense": dense.method},
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

"""Who made a vector: the digest recomputed from `shards/FORMAT.md` in plain Python, and what it is compared with."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import msgspec
import open_clip
import pytest
import torch
from open_clip import CLIP, CoCa, CustomTextCLIP
from open_clip.model import convert_to_custom_text_state_dict

from encoders.identity import identify, source_of, text_digest
from encoders.weights import ClipSource, LoadedClip
from shards import EncoderIdentity, EncoderMismatch

CONFIG: dict[str, Any] = {
    "embed_dim": 6,
    "vision_cfg": {"image_size": 8, "layers": 1, "width": 8, "head_width": 4, "patch_size": 4},
    "text_cfg": {"context_length": 5, "vocab_size": 11, "width": 8, "heads": 2, "layers": 1},
}
BLOCK = "transformer.resblocks.0."
TEXT_TENSORS = {
    "token_embedding.weight", "positional_embedding", "ln_final.weight", "ln_final.bias", "text_projection",
    BLOCK + "ln_1.weight", BLOCK + "ln_1.bias", BLOCK + "ln_2.weight", BLOCK + "ln_2.bias",
    BLOCK + "attn.in_proj_weight", BLOCK + "attn.in_proj_bias",
    BLOCK + "attn.out_proj.weight", BLOCK + "attn.out_proj.bias",
    BLOCK + "mlp.c_fc.weight", BLOCK + "mlp.c_fc.bias", BLOCK + "mlp.c_proj.weight", BLOCK + "mlp.c_proj.bias",
}  # fmt: skip


def clip_of(kind: type = CLIP, source: str = "ViT-B-16/openai", **changes: Any) -> LoadedClip:
    """A tiny random network whose parameters all differ."""
    config = {**CONFIG, **changes}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = kind(**config, init_logit_bias=-10.0)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
    return LoadedClip(network.eval(), config, ClipSource.parse(source))


def by_the_format(config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> str:
    """The digest as `shards/FORMAT.md` says it, with the standard library alone."""
    settings = {
        "text": config["text_cfg"],
        "quick_gelu": config.get("quick_gelu", False),
        "dimension": config["embed_dim"],
    }
    content = json.dumps(settings, sort_keys=True, separators=(",", ":")).encode("utf-8")
    for name in sorted(tensors):
        values = tensors[name].flatten().tolist()
        shape = ",".join(str(size) for size in tensors[name].shape)
        content += name.encode("utf-8") + b"\0" + shape.encode("ascii") + b"\0"
        content += struct.pack(f"<{len(values)}f", *values)
    return "sha256:" + hashlib.sha256(content).hexdigest()


def changed(clip: LoadedClip, name: str) -> LoadedClip:
    """The same network with one number of one tensor moved by little."""
    network = type(clip.network)(**clip.config, init_logit_bias=-10.0)
    tensors = {key: tensor.clone() for key, tensor in clip.network.state_dict().items()}
    tensors[name].view(-1)[-1] += 1e-4
    network.load_state_dict(tensors)
    return LoadedClip(network.eval(), clip.config, clip.source)


def test_the_digest_is_what_the_format_says() -> None:
    clip = clip_of()
    tensors = {name: tensor for name, tensor in clip.network.state_dict().items() if name in TEXT_TENSORS}
    assert tensors.keys() == TEXT_TENSORS
    assert text_digest(clip) == by_the_format(clip.config, tensors)


def test_a_separate_text_tower_has_the_same_digest() -> None:
    clip, custom = clip_of(), clip_of(CustomTextCLIP)
    custom.network.load_state_dict(convert_to_custom_text_state_dict(clip.network.state_dict()))
    assert text_digest(custom) == text_digest(clip)


def test_a_cocas_decoder_is_no_part_of_its_text_tower() -> None:
    text = {**CONFIG["text_cfg"], "embed_cls": True, "output_tokens": True}
    vision = {**CONFIG["vision_cfg"], "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    clip = clip_of(CoCa, text_cfg=text, vision_cfg=vision, multimodal_cfg=CONFIG["text_cfg"])
    assert text_digest(clip) == by_the_format(clip.config, clip.network.text.state_dict())
    assert text_digest(changed(clip, "text_decoder.ln_final.weight")) == text_digest(clip)
    assert text_digest(changed(clip, "text.cls_emb")) != text_digest(clip)


@pytest.mark.parametrize("name", sorted(clip_of().network.state_dict()))
def test_the_digest_sees_every_text_weight_and_no_other(name: str) -> None:
    clip = clip_of()
    assert (text_digest(changed(clip, name)) != text_digest(clip)) == (name in TEXT_TENSORS)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"quick_gelu": True}, True),
        ({"text_cfg": {**CONFIG["text_cfg"], "heads": 4}}, True),
        ({"quick_gelu": False}, False),
        ({"vision_cfg": {**CONFIG["vision_cfg"], "image_size": 16}}, False),
        ({"custom_text": True}, False),
        ({"text_cfg": dict(reversed(CONFIG["text_cfg"].items()))}, False),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_the_digest_sees_what_the_text_tower_is_made_from(change: dict[str, Any], seen: bool) -> None:  # noqa: FBT001
    clip = clip_of()
    other = LoadedClip(clip.network, {**clip.config, **change}, clip.source)
    assert (text_digest(other) != text_digest(clip)) == seen


def test_what_an_identity_says() -> None:
    clip = clip_of(source="ViT-B-16/openai")
    said = identify(clip, open_clip.SimpleTokenizer(), precision="bf16")
    assert said == EncoderIdentity(
        architecture="ViT-B-16",
        pretrained="openai",
        checkpoint=None,
        text_digest=text_digest(clip),
        tokenizer="SimpleTokenizer",
        context_length=5,
        prompt="{}",
        concept_prompts=[],
        dimension=6,
        precision="bf16",
    )
    implied = {key: value for key, value in CONFIG["text_cfg"].items() if key != "context_length"}
    assert identify(LoadedClip(clip.network, {**CONFIG, "text_cfg": implied}, clip.source), None).context_length == 77


@pytest.mark.parametrize(
    "source",
    [
        ClipSource("ViT-B-16", "openai"),
        ClipSource("ViT-B-16", "openai", Path("weights/clip.safetensors")),
        ClipSource("ViT-B-16", None, Path("weights/clip.safetensors")),
        ClipSource("hf-hub:owner/name"),
        ClipSource("hf-hub:owner/name", None, Path("weights/clip.safetensors")),
        ClipSource("local-dir:models/clip"),
        ClipSource("local-dir:models/clip", None, Path("weights/clip.safetensors")),
        ClipSource("untrained"),
    ],
    ids=str,
)
def test_an_index_says_where_its_clip_comes_from(source: ClipSource) -> None:
    clip = clip_of()
    identity = identify(LoadedClip(clip.network, clip.config, source), open_clip.tokenize)
    assert source_of(identity) == source
    elsewhere = Path("elsewhere.safetensors")
    assert source_of(identity, elsewhere) == ClipSource(source.architecture, source.pretrained, elsewhere)


@pytest.mark.parametrize("folder", ["models/clip", "models/clip/", "/srv/models/clip", "./clip", "clip"])
def test_a_folder_is_known_by_its_own_name(folder: str) -> None:
    clip = clip_of()
    local = LoadedClip(clip.network, clip.config, ClipSource(f"local-dir:{folder}"))
    assert identify(local, None).architecture == "clip"


def test_other_weights_are_refused_with_both_sides_named() -> None:
    ours = identify(clip_of(), open_clip.tokenize)
    theirs = identify(changed(clip_of(source="ViT-B-16/laion2b_s34b_b88k"), "ln_final.bias"), open_clip.tokenize)
    with pytest.raises(EncoderMismatch) as caught:
        ours.require(theirs, "shards/cc3m")
    said = str(caught.value)
    assert said.startswith("shards/cc3m holds vectors of ViT-B-16/openai, 6-d")
    assert "this encoder is ViT-B-16/laion2b_s34b_b88k, 6-d" in said
    for identity in (ours, theirs):
        assert identity.text_digest.removeprefix("sha256:")[:7] in said


@pytest.mark.parametrize("field", EncoderIdentity.__struct_fields__)
def test_only_provenance_may_differ(field: str) -> None:
    ours = identify(clip_of(), open_clip.tokenize)
    theirs = msgspec.structs.replace(ours, **{field: 1 if field in ("context_length", "dimension") else "another"})
    if field in ("pretrained", "checkpoint", "precision", "concept_prompts"):
        ours.require(theirs, "shards/cc3m")
    else:
        with pytest.raises(EncoderMismatch):
            ours.require(theirs, "shards/cc3m")

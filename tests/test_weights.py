"""Loading real architectures from local files, and what is said where neither a file nor a hub is to be had."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file

from encoders import hub, weights
from encoders.clip_text import ClipText
from encoders.dinov2 import PatchFeatures, pixels_of
from encoders.errors import EncoderError, WeightsMissing
from encoders.identity import source_of, text_digest
from encoders.untrained import fill_random, untrained_clip, untrained_dino
from encoders.weights import ClipSource, load_clip, load_dino
from shards import EncoderMismatch

ARCHITECTURE = "ViT-S-32-alt"
"""The smallest text tower that open_clip has under a name of its own."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    """A network of a registered architecture, and the folder that holds its weights in three forms."""
    folder = tmp_path_factory.mktemp("weights")
    network = open_clip.create_model(ARCHITECTURE)
    fill_random(network, seed=7)
    save_file(dict(network.state_dict()), folder / "open_clip_model.safetensors")
    torch.save(network.state_dict(), folder / "weights.pt")
    config = {"model_cfg": open_clip.get_model_config(ARCHITECTURE), "preprocess_cfg": {"mean": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return network.eval(), folder


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that reaches no hub and has nothing in its cache."""
    monkeypatch.setattr(hub, "_resolves", lambda _: False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))


def encoded(network: Any) -> np.ndarray:
    with torch.inference_mode():
        return network.encode_text(open_clip.tokenize(["a dog on the beach", "red bus"]), normalize=True).numpy()


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "weights.pt"])
def test_a_clip_from_a_local_file_is_the_network_it_came_from(trained: tuple[Any, Path], file: str) -> None:
    network, folder = trained
    loaded = load_clip(ClipSource(ARCHITECTURE, None, folder / file))
    np.testing.assert_array_equal(encoded(loaded.network), encoded(network))
    picture = torch.linspace(-1, 1, 3 * 224 * 224).reshape(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network.encode_image(picture), network.encode_image(picture))


def test_a_clip_from_a_local_folder(trained: tuple[Any, Path]) -> None:
    network, folder = trained
    loaded = load_clip(ClipSource.parse(f"local-dir:{folder}"))
    np.testing.assert_array_equal(encoded(loaded.network), encoded(network))
    encoder = ClipText.from_pretrained(ClipSource.parse(f"local-dir:{folder}"), "cpu")
    assert encoder.identity.architecture == folder.name
    assert source_of(encoder.identity) == ClipSource(f"local-dir:{folder}")
    np.testing.assert_allclose(encoder.encode(["a dog on the beach", "red bus"]), encoded(network), atol=2e-6)


class Trap:
    """A pickle that would create a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"weight": Trap(tmp_path / "sprung")}, tmp_path / "trap.pt")
    with pytest.raises(EncoderError, match=r"trap\.pt"):
        load_clip(ClipSource(ARCHITECTURE, None, tmp_path / "trap.pt"))
    with pytest.raises(EncoderError, match=r"trap\.pt"):
        load_dino("vit_small_patch14_dinov2.lvd142m", tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_named_weights_settle_the_activation_and_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's weights were trained with QuickGELU, which ViT-B-16 is not by default; open_clip only warns."""
    asked: dict[str, Any] = {}

    def create(architecture: str, **options: Any) -> torch.nn.Module:
        asked.update(options, architecture=architecture)
        return torch.nn.Identity()

    monkeypatch.setattr(open_clip, "create_model", create)
    loaded = load_clip(ClipSource.parse("ViT-B-16/openai"))
    assert asked["architecture"] == "ViT-B-16"
    assert asked["force_quick_gelu"] is True
    assert loaded.config["quick_gelu"] is True
    np.testing.assert_allclose(asked["force_preprocess_cfg"]["mean"], (0.48145466, 0.4578275, 0.40821073))
    assert load_clip(ClipSource.parse("ViT-B-16/laion2b_s34b_b88k")).config["quick_gelu"] is False
    assert asked["weights_only"] is True


@pytest.mark.usefixtures("no_hub")
def test_without_a_hub_the_error_names_the_file_the_flag_and_the_way_out() -> None:
    with pytest.raises(WeightsMissing) as clip:
        load_clip(ClipSource.parse("ViT-B-16/openai"))
    with pytest.raises(WeightsMissing) as dino:
        load_dino("vit_base_patch14_reg4_dinov2.lvd142m")
    for caught, file, flag in (
        (clip, "timm/vit_base_patch16_clip_224.openai/open_clip_model.safetensors", "--clip-checkpoint"),
        (dino, "timm/vit_base_patch14_reg4_dinov2.lvd142m/model.safetensors", "--dino-checkpoint"),
    ):
        said = str(caught.value)
        assert file in said
        assert flag in said
        assert "--preset untrained" in said
        assert "\n" not in said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("ViT-B-99/openai", "no such architecture"),
        ("ViT-B-16/nobody", "its weights are: openai"),
        ("ViT-B-16", "which weights"),
        ("local-dir:/nowhere", "/nowhere"),
    ],
)
def test_what_cannot_be_loaded(source: str, said: str) -> None:
    with pytest.raises(EncoderError, match=said):
        load_clip(ClipSource.parse(source))


def test_files_that_are_missing_or_of_another_network(trained: tuple[Any, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="no such file"):
        load_clip(ClipSource(ARCHITECTURE, None, tmp_path / "none.safetensors"))
    with pytest.raises(WeightsMissing, match="no such file"):
        load_dino("vit_small_patch14_dinov2.lvd142m", tmp_path / "none.safetensors")
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(EncoderError, match=r"other\.safetensors") as caught:
        load_clip(ClipSource(ARCHITECTURE, None, tmp_path / "other.safetensors"))
    assert "\n" not in str(caught.value)
    with pytest.raises(EncoderError, match="timm knows no such model"):
        load_dino("vit_of_nobody")


def test_a_dinov2_from_a_local_file_is_the_network_it_came_from(tmp_path: Path) -> None:
    name = "vit_small_patch14_reg4_dinov2.lvd142m"
    network = timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True)
    fill_random(network, seed=9)
    save_file(dict(network.state_dict()), tmp_path / "dino.safetensors")
    loaded = load_dino(name, tmp_path / "dino.safetensors")
    picture = np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8)
    ours = PatchFeatures(loaded, pixels_of(loaded), short_side=56).embed(picture)
    theirs = PatchFeatures(network.eval(), pixels_of(network), short_side=56).embed(picture)
    np.testing.assert_array_equal(ours, theirs)


# --- identity --------------------------------------------------------------------------------------------------------


def test_the_digest_is_what_the_format_says() -> None:
    import hashlib

    clip = load_clip(ClipSource("untrained"))
    text = {"dimension": 128, "quick_gelu": False, "text": clip.config["text_cfg"]}
    digest = hashlib.sha256(json.dumps(text, sort_keys=True, separators=(",", ":")).encode())
    tensors = {n: t for n, t in clip.network.state_dict().items() if not n.startswith("visual.") and n != "logit_scale"}
    for name in sorted(tensors):
        values = tensors[name].numpy().astype("<f4")
        digest.update(name.encode() + b"\0" + ",".join(map(str, values.shape)).encode() + b"\0" + values.tobytes())
    assert text_digest(clip) == f"sha256:{digest.hexdigest()}"


def test_the_digest_sees_text_weights_and_activation_only() -> None:
    clip = load_clip(ClipSource("untrained"))
    before = text_digest(clip)
    with torch.no_grad():
        clip.network.visual.conv1.weight += 1
    assert text_digest(clip) == before
    other = weights.LoadedClip(clip.network, {**clip.config, "quick_gelu": True}, clip.source)
    assert text_digest(other) != before
    with torch.no_grad():
        clip.network.ln_final.bias[3] += 1e-3
    assert text_digest(clip) != before


def test_other_weights_are_refused_with_both_sides_named(trained: tuple[Any, Path]) -> None:
    _, folder = trained
    ours = ClipText.from_pretrained(ClipSource(ARCHITECTURE, None, folder / "weights.pt"), "cpu").identity
    other = ClipText.from_pretrained(ClipSource("untrained"), "cpu").identity
    ours.require(ours, "shards/x")
    with pytest.raises(EncoderMismatch) as caught:
        ours.require(other, "shards/x")
    for part in ("shards/x", "ViT-S-32-alt", "untrained", "256-d", "128-d"):
        assert part in str(caught.value)


def test_untrained_networks_are_the_same_every_time() -> None:
    torch.manual_seed(1)
    first, dino = untrained_clip().state_dict(), untrained_dino().state_dict()
    torch.manual_seed(2)
    for name, tensor in untrained_clip().state_dict().items():
        torch.testing.assert_close(tensor, first[name], rtol=0, atol=0)
    for name, tensor in untrained_dino().state_dict().items():
        torch.testing.assert_close(tensor, dino[name], rtol=0, atol=0)

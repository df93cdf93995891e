"""Loading real architectures from local files, and what is said where neither a file nor a hub is to be had."""

import hashlib
import json
import os
import pickle
import socket
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from huggingface_hub import constants
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file

from encoders import hub
from encoders.blank import NothingRandom
from encoders.clip_text import ClipText
from encoders.dinov2 import PatchFeatures, load_dino, pixels_of
from encoders.errors import EncoderError, WeightsMissing
from encoders.identity import source_of, text_digest
from encoders.loading import explained
from encoders.presets import Precision
from encoders.untrained import SEED, fill_random, untrained_clip, untrained_dino
from encoders.weights import ClipSource, LoadedClip, clip_tokenizer, load_clip, other_weights

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
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))


SMALL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """A small random network whose architecture open_clip knows as `small`, with two kinds of weights to its name."""
    tag = {"hf_hub": "someone/small/", "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", SMALL)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "small", {"plain": tag, "quick": {**tag, "quick_gelu": True}})
    network = open_clip.CLIP(**SMALL)
    fill_random(network, seed=3)
    return network.eval()


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


@pytest.mark.parametrize("draw", ["normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "xavier_uniform_"])
def test_where_nothing_is_drawn_a_missing_weight_shows(draw: str) -> None:
    weight = torch.nn.Parameter(torch.zeros(3, 4))
    before = torch.get_rng_state()
    with NothingRandom():
        assert getattr(torch.nn.init, draw)(weight) is weight
        assert torch.empty(2).normal_().isnan().all()
        layer = torch.nn.Linear(4, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert weight.isnan().all()
    assert weight.requires_grad
    assert layer(torch.ones(4)).isnan().all()
    assert not getattr(torch.nn.init, draw)(weight).isnan().any()  # as ever outside


def test_no_weight_of_a_loaded_network_is_left_out(trained: tuple[Any, Path]) -> None:
    loaded = load_clip(ClipSource(ARCHITECTURE, None, trained[1] / "weights.pt")).network
    assert all(torch.isfinite(each).all() for each in loaded.parameters())


def test_a_clip_from_a_local_folder(trained: tuple[Any, Path]) -> None:
    network, folder = trained
    loaded = load_clip(ClipSource.parse(f"local-dir:{folder}"))
    np.testing.assert_array_equal(encoded(loaded.network), encoded(network))
    encoder = ClipText.from_pretrained(ClipSource.parse(f"local-dir:{folder}"), "cpu", Precision.FP32)
    assert encoder.identity.architecture == folder.name
    assert source_of(encoder.identity) == ClipSource(f"local-dir:{folder}")
    vectors = encoder.encode(["a dog on the beach", "red bus"])
    np.testing.assert_allclose(vectors, encoded(network), atol=1e-5)  # by a processor with tiles 2e-6, by others 1e-7


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


@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save({"weight": Trap(path.parent / "sprung")}, path),
        lambda path: torch.save({"w": Trap(path.parent / "sprung")}, path, _use_new_zipfile_serialization=False),
        lambda path: path.write_bytes(pickle.dumps(Trap(path.parent / "sprung"))),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a checkpoint"),
    ],
    ids=["trap", "old format", "bare pickle", "empty", "text"],
)
def test_no_library_opens_a_file_that_is_not_plain_weights(
    write: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """Some of their releases go on to unpickle it."""
    write(tmp_path / "weights.bin")
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: pytest.fail("opened"))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(
        EncoderError, match=r"--clip-checkpoint .*weights\.bin: not a file of plain weights.*safetensors"
    ):
        load_clip(ClipSource(ARCHITECTURE, None, tmp_path / "weights.bin"))
    with pytest.raises(
        EncoderError, match=r"--dino-checkpoint .*weights\.bin: not a file of plain weights.*safetensors"
    ):
        load_dino("vit_small_patch14_dinov2.lvd142m", tmp_path / "weights.bin")
    assert not (tmp_path / "sprung").exists()
    assert not [str(each.message) for each in recwarn]


WRAPPED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "model": lambda weights: {"model": weights, "epoch": 3},
    "model_state_dict": lambda weights: {"model_state_dict": weights, "optimizer": {"state": {0: torch.zeros(2)}}},
    "_orig_mod.": lambda weights: {f"_orig_mod.{name}": values for name, values in weights.items()},
    "ema.": lambda weights: {f"ema.{name}": values for name, values in weights.items()},
    "module.model.": lambda weights: {f"module.model.{name}": values for name, values in weights.items()},
    "Lightning": lambda weights: {"state_dict": {f"clip.{name}": values for name, values in weights.items()}},
}
"""What training programs put around the weights of a network."""


@pytest.mark.parametrize("form", WRAPPED)
def test_weights_inside_a_dictionary_or_behind_a_prefix_are_found(
    small: torch.nn.Module, tmp_path: Path, form: str
) -> None:
    torch.save(WRAPPED[form](small.state_dict()), tmp_path / "clip.pt")
    loaded = load_clip(ClipSource("small", None, tmp_path / "clip.pt"))
    np.testing.assert_array_equal(encoded(loaded.network), encoded(small))
    other = timm.create_model("resnet10t", num_classes=0)  # of which timm forgives that names are missing
    torch.save(WRAPPED[form](other.state_dict()), tmp_path / "dino.pt")
    for name, values in load_dino("resnet10t.c3_in1k", tmp_path / "dino.pt").state_dict().items():
        torch.testing.assert_close(values, other.state_dict()[name], rtol=0, atol=0)


def test_weights_under_other_names_are_compared_with_those_that_are_wanted(
    small: torch.nn.Module, tmp_path: Path
) -> None:
    weights = small.state_dict()
    torch.save({"model": weights, "model_ema": weights}, tmp_path / "two.pt")
    with pytest.raises(EncoderError, match=r"--clip-checkpoint .*two\.pt: .*in 2 places, model/ and model_ema/; save"):
        load_clip(ClipSource("small", None, tmp_path / "two.pt"))
    torch.save({"model": {f"x{name}": values for name, values in list(weights.items())[1:]}}, tmp_path / "part.pt")
    wanted = (
        rf"part\.pt: lacks {len(weights)} of this network's {len(weights)} weights \(positional_embedding, .*, …\), "
    )
    with pytest.raises(EncoderError, match=rf"{wanted}and has {len(weights) - 1} others \(model/x.*, …\); give"):
        load_clip(ClipSource("small", None, tmp_path / "part.pt"))


def torchscript(path: Path) -> None:
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    module.save(str(path))


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clip/notes.txt", "weights are elsewhere")


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 598641023\n"


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("w.safetensors", lambda path: path.write_text(POINTER), "found a pointer of Git LFS.*git lfs pull"),
        ("w.pt", lambda path: path.write_text("\n<!DOCTYPE html><html></html>"), "found a web page.*download the file"),
        (
            "w.pt",
            lambda path: save_file({"a": torch.zeros(1)}, path),
            r"safetensors, called.*rename it to \.safetensors",
        ),
        ("w.safetensors", lambda path: torch.save({"a": torch.zeros(1)}, path), r"torch saved.*rename it to \.pt"),
        ("w.safetensors", lambda path: path.write_bytes(b"damaged beyond repair"), "not a file of plain weights"),
        ("w.pt", zipped, r"a zip archive of something else \(clip/notes\.txt\); unpack it"),
        ("w.pt", lambda path: torch.save({}, path), "found no weights in it"),
        ("w.pt", lambda path: torch.save([torch.zeros(1)], path), "found no weights in it"),
        ("w.pt", torchscript, r"found a TorchScript archive.*code is never run; .*docs/your-own-models\.md"),
    ],
)
def test_what_is_no_file_of_weights_is_called_what_it_is(
    tmp_path: Path, name: str, write: Callable[[Path], Any], said: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(EncoderError, match=rf"^--clip-checkpoint .*{name}: .*{said}") as clip:
        load_clip(ClipSource(ARCHITECTURE, None, tmp_path / name))
    with pytest.raises(EncoderError, match=rf"^--dino-checkpoint .*{name}: .*{said}"):
        load_dino("resnet10t.c3_in1k", tmp_path / name)
    assert "\n" not in str(clip.value)


def test_what_is_wrong_with_a_folder_is_said(small: torch.nn.Module, tmp_path: Path) -> None:
    config = tmp_path / "open_clip_config.json"
    config.write_text(json.dumps(SMALL))
    source = ClipSource.parse(f"local-dir:{tmp_path}")
    with pytest.raises(EncoderError, match=r"has no model_cfg, .*; found embed_dim, vision_cfg, text_cfg$"):
        load_clip(source)
    config.write_text(json.dumps({"model_cfg": SMALL}))
    (tmp_path / "open_clip_model.safetensors").write_text(POINTER)
    with pytest.raises(EncoderError, match=r"open_clip_model\.safetensors: found a pointer of Git LFS"):
        load_clip(source)


@pytest.mark.usefixtures("small")
def test_an_image_tower_for_larger_pictures_is_not_resampled(tmp_path: Path) -> None:
    """As ViT-L-14's file for 336 pixels is, where ViT-L-14 was named."""
    side = SMALL["vision_cfg"]["image_size"]
    larger = {**SMALL, "vision_cfg": {**SMALL["vision_cfg"], "image_size": 2 * side}}
    save_file(open_clip.CLIP(**larger).state_dict(), tmp_path / "larger.safetensors")
    cells = (side // SMALL["vision_cfg"]["patch_size"]) ** 2
    with pytest.raises(
        EncoderError, match=rf"its image tower has {4 * cells + 1} positions, .*architecture {cells + 1}; name"
    ):
        load_clip(ClipSource("small", None, tmp_path / "larger.safetensors"))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("custom_text", [False, True])  # which open_clip names the weights of otherwise
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_text_tower_that_reads_more_is_not_resampled(
    tmp_path: Path,
    prefix: str,
    custom_text: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", {**SMALL, "custom_text": custom_text})
    longer = {**SMALL, "text_cfg": {**SMALL["text_cfg"], "context_length": 90}}
    weights = {prefix + name: values for name, values in open_clip.CLIP(**longer).state_dict().items()}
    save_file(weights, tmp_path / "longer.safetensors")
    with pytest.raises(
        EncoderError, match=r"longer\.safetensors: its text tower has 90 positions, .*architecture 77; name"
    ):
        load_clip(ClipSource("small", None, tmp_path / "longer.safetensors"))


def test_plain_weights_in_torchs_old_format(small: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(small.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(
        encoded(load_clip(ClipSource("small", None, tmp_path / "old.pth")).network), encoded(small)
    )


@pytest.mark.parametrize(("tag", "quick"), [("plain", False), ("quick", True)])
def test_a_local_file_keeps_what_its_weights_name_settles(
    small: torch.nn.Module,
    tmp_path: Path,
    tag: str,
    quick: bool,  # noqa: FBT001
) -> None:
    save_file(dict(small.state_dict()), tmp_path / "small.safetensors")
    loaded = load_clip(ClipSource("small", tag, tmp_path / "small.safetensors"))
    assert loaded.config["quick_gelu"] is quick
    for tower in (loaded.network.transformer, loaded.network.visual.transformer):
        assert isinstance(tower.resblocks[0].mlp.gelu, QuickGELU) is quick
    pixels = open_clip.get_model_preprocess_cfg(loaded.network)
    assert (pixels["mean"], pixels["std"], pixels["size"]) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), (32, 32))
    same = LoadedClip(small, {**SMALL, "quick_gelu": quick}, loaded.source)
    assert text_digest(loaded) == text_digest(same)


@pytest.mark.parametrize(
    ("architecture", "others"),
    [
        ("ViT-B-16", ["openai", "dfn2b", "metaclip_400m", "metaclip_fullcc"]),  # QuickGELU
        ("ViT-B-16-quickgelu", []),
        ("MobileCLIP-S1", ["datacompdr"]),  # pixels as they are
        ("ViT-S-32-alt", []),  # nobody published any
        ("hf-hub:someone/model", []),
        ("untrained", []),
    ],
)
def test_a_file_without_a_name_may_want_what_it_does_not_get(architecture: str, others: list[str]) -> None:
    file = Path("clip.pt")
    assert other_weights(ClipSource(architecture, None, file)) == others
    assert other_weights(ClipSource(architecture, "openai", file)) == other_weights(ClipSource(architecture)) == []


def test_a_file_that_is_called_like_some_weights(
    small: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(small.state_dict(), "plain")
    loaded = load_clip(ClipSource("small", None, Path("plain")))
    np.testing.assert_array_equal(encoded(loaded.network), encoded(small))


def test_a_folder_takes_weights_from_another_file(small: torch.nn.Module, tmp_path: Path) -> None:
    config = {"model_cfg": SMALL, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match=r"open_clip_model\.safetensors.*could not be loaded.*--clip-checkpoint"):
        load_clip(ClipSource.parse(f"local-dir:{tmp_path}"))  # open_clip itself returns a random network
    (tmp_path / "elsewhere").mkdir()
    save_file(dict(small.state_dict()), tmp_path / "elsewhere" / "small.safetensors")
    with torch.no_grad():
        other = {name: tensor + 1 for name, tensor in small.state_dict().items()}
    for step in ("none in the folder", "others in the folder"):
        loaded = load_clip(ClipSource.parse(f"local-dir:{tmp_path}", tmp_path / "elsewhere" / "small.safetensors"))
        np.testing.assert_array_equal(encoded(loaded.network), encoded(small), err_msg=step)
        save_file(other, tmp_path / "open_clip_model.safetensors")
    pixels = open_clip.get_model_preprocess_cfg(loaded.network)
    assert (pixels["mean"], pixels["std"]) == ([0.5] * 3, [0.25] * 3)


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
    with pytest.raises(WeightsMissing) as file_by_name:
        load_clip(ClipSource.parse("ViTamin-L-256/datacomp1b"))
    with pytest.raises(WeightsMissing) as hub_model:
        load_clip(ClipSource.parse("hf-hub:someone/model"))
    with pytest.raises(WeightsMissing) as tokenizer:
        clip_tokenizer(ClipSource.parse("roberta-ViT-B-32/laion2b_s12b_b32k"))
    for caught, file, flag in (
        (file_by_name, "jienengchen/ViTamin-L-256px/pytorch_model.bin. ", "--clip-checkpoint"),
        (hub_model, "someone/model/open_clip_config.json", "--clip local-dir:FOLDER"),
        (tokenizer, "tokenizer files", "--clip local-dir:FOLDER"),
        (clip, "timm/vit_base_patch16_clip_224.openai/open_clip_model.safetensors", "--clip-checkpoint"),
        (dino, "timm/vit_base_patch14_reg4_dinov2.lvd142m/model.safetensors", "--dino-checkpoint"),
    ):
        said = str(caught.value)
        assert file in said
        assert flag in said
        assert "--preset pocket" in said
        assert "\n" not in said


@pytest.mark.usefixtures("no_hub")
def test_a_folder_lacks_the_settings_of_hugging_faces_text_towers(tmp_path: Path) -> None:
    """open_clip saves the weights and the tokenizer there; the tower is made by a configuration of its own."""
    text = {"hf_model_name": "someone/words", "hf_tokenizer_name": "someone/words", "hf_pooler_type": "mean_pooler"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {**SMALL, "text_cfg": text}}))
    save_file({"weight": torch.zeros(3)}, tmp_path / "open_clip_model.safetensors")
    wanted = r"its text tower's settings \(someone/words\) are not on this.*: someone/words/config\.json\. .*HF_HOME"
    with pytest.raises(WeightsMissing, match=wanted) as caught:
        load_clip(ClipSource.parse(f"local-dir:{tmp_path}"))
    assert "open_clip_model.safetensors" not in str(caught.value), "which is there"


@pytest.mark.parametrize(
    ("settings", "resolves"),
    [
        ({}, False),
        ({"no_proxy": "localhost"}, False),
        ({"https_proxy": "http://proxy.example:3128"}, True),
        ({"https_proxy": "http://proxy.example:3128", "no_proxy": ".example"}, False),
    ],
)
def test_names_that_only_a_proxy_knows(
    settings: dict[str, str],
    resolves: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def knows_nothing(*_: Any) -> None:
        raise OSError("Name or service not known")

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "getaddrinfo", knows_nothing)
    assert hub._resolves("https://hub.example") is resolves


def test_a_package_that_a_network_needs_is_named() -> None:
    def load() -> None:
        with explained("CLIP x", "its file", "--clip"):
            try:
                import_module("nowhere_at_all")
            except ImportError as error:
                raise RuntimeError("no tokenizer") from error

    with pytest.raises(EncoderError, match=r"^CLIP x: a package is not installed here: pip install nowhere_at_all$"):
        load()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("ViT-B-99/openai", "no such architecture"),
        ("ViT-B-16/nobody", "its weights are: openai"),
        ("ViT-B-16", "which weights.*--clip-checkpoint FILE"),
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
    with pytest.raises(EncoderError, match=r"no such weights; there are: vit_small_patch14_dinov2\.lvd142m$"):
        load_dino("vit_small_patch14_dinov2.nobody")
    for load in (
        lambda file: load_clip(ClipSource("untrained", None, file)),
        lambda file: load_dino("untrained", file),
    ):
        with pytest.raises(EncoderError, match=r"other\.safetensors: the untrained network has its own weights"):
            load(tmp_path / "other.safetensors")


def test_weights_of_another_architecture(small: torch.nn.Module, tmp_path: Path) -> None:
    """The message says what does not fit, in one line that also names the flag and the way out."""
    save_file(dict(open_clip.CLIP(**{**SMALL, "embed_dim": 8}).state_dict()), tmp_path / "narrow.safetensors")
    with pytest.raises(EncoderError) as clip:
        load_clip(ClipSource("small", None, tmp_path / "narrow.safetensors"))
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=1)
    save_file(dict(network.state_dict()), tmp_path / "tiny.safetensors")
    with pytest.raises(EncoderError) as dino:
        load_dino("vit_small_patch14_dinov2.lvd142m", tmp_path / "tiny.safetensors")
    for caught, parts in (
        (clip, ("narrow.safetensors", "size mismatch for text_projection", "--clip-checkpoint")),
        (dino, ("tiny.safetensors", "lacks 156 of this network's 174 weights (", "--dino-checkpoint")),
    ):
        said = str(caught.value)
        for part in parts:
            assert part in said
        assert "\n" not in said
        assert not isinstance(caught.value, WeightsMissing)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(small: torch.nn.Module, tmp_path: Path, value: float) -> None:
    clip = dict(small.state_dict())
    clip["ln_final.weight"] = torch.full_like(clip["ln_final.weight"], value)
    save_file(clip, tmp_path / "clip.safetensors")
    with pytest.raises(EncoderError, match=r"clip\.safetensors: ln_final\.weight .*--clip-checkpoint"):
        load_clip(ClipSource("small", None, tmp_path / "clip.safetensors"))
    dino = dict(timm.create_model("resnet10t", num_classes=0).state_dict())
    dino["layer1.0.bn1.running_var"][0] = value
    save_file(dino, tmp_path / "dino.safetensors")
    with pytest.raises(EncoderError, match=r"dino\.safetensors: layer1\.0\.bn1\.running_var .*--dino-checkpoint"):
        load_dino("resnet10t.c3_in1k", tmp_path / "dino.safetensors")


def as_published(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A timm DINOv2 with registers under the names that its authors publish, where the class token has a position."""
    named = dict(weights)
    position = torch.full_like(named["cls_token"], 0.25)
    named["register_tokens"] = named.pop("reg_token")
    named["cls_token"] = named["cls_token"] - position
    named["pos_embed"] = torch.cat([position, named["pos_embed"]], dim=1)
    named["mask_token"] = torch.zeros(1, named["cls_token"].shape[-1])
    return named


def features(network: Any) -> np.ndarray:
    picture = np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8)
    return PatchFeatures(network, pixels_of(network), short_side=56).embed(picture)


@pytest.mark.parametrize("form", ["safetensors", "pth", "as its authors publish it"])
def test_a_dinov2_from_a_local_file_is_the_network_it_came_from(tmp_path: Path, form: str) -> None:
    name = "vit_small_patch14_reg4_dinov2.lvd142m"
    network = timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True)
    fill_random(network, seed=9)
    file = tmp_path / "dino.safetensors"
    if form == "safetensors":
        save_file(dict(network.state_dict()), file)
    else:
        file = tmp_path / "dino.pth"
        torch.save(as_published(network.state_dict()) if "authors" in form else network.state_dict(), file)
    loaded = load_dino(name, file)
    tolerance = 1e-5 if "authors" in form else 0  # a position is taken off the class token and put back
    np.testing.assert_allclose(features(loaded), features(network.eval()), rtol=0, atol=tolerance)


@pytest.mark.parametrize("make", [untrained_clip, untrained_dino])
def test_untrained_networks_are_the_same_every_time(make: Callable[[], torch.nn.Module]) -> None:
    made = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            made.append(make().state_dict())
    first, second = made
    assert first.keys() == second.keys()
    for name, tensor in second.items():
        torch.testing.assert_close(tensor, first[name], rtol=0, atol=0)


def test_untrained_values_are_what_the_seed_and_the_name_say() -> None:
    """Written out once more, so that no index of an untrained network silently stops matching."""
    weights = untrained_clip().state_dict()
    seed = int.from_bytes(hashlib.sha256(f"{SEED}:text_projection".encode()).digest()[:8], "little")
    drawn = np.random.Generator(np.random.PCG64(seed)).standard_normal((128, 128), np.float32)
    scaled = (drawn.astype(np.float64) / np.sqrt(128)).astype(np.float32)
    np.testing.assert_array_equal(weights["text_projection"].numpy(), scaled)
    assert set(weights["ln_final.weight"].tolist()) == {1.0}
    assert set(weights["ln_final.bias"].tolist()) == {0.0}

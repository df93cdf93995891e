"""The CLIP inside the package: found wherever the package lies, known by its digest, and missed in plain words."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from conftest import contents, write_captions
from convolutional import fill_pocket
from PIL import Image
from safetensors.torch import load_file, save_file

from build_index.__main__ import main as build_main
from encoders import weights
from encoders.clip_dense import clip_pixels
from encoders.clip_feature_map import ClipFeatureMap
from encoders.clip_text import ClipText, clip_text_of
from encoders.dense import clip_vectors
from encoders.errors import EncoderError, WeightsMissing
from encoders.identity import source_of
from encoders.pixels import Interpolation, PixelSpec
from encoders.presets import CLIP_TRUNK, POCKET, PRESETS, Precision, PresetName
from encoders.weights import ClipSource, load_clip
from labeler.__main__ import main as label_main

CAPTIONS = ["a dog on the beach", "two cats", "a red bus", "a tree in the garden"]


@pytest.fixture
def pocket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose pocket holds random weights and pixels of its own."""
    folder = tmp_path / "installed" / "pocket"
    fill_pocket(folder, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.1], interpolation="bilinear")
    monkeypatch.setattr(weights, "POCKET_FOLDER", folder)
    return folder


def test_the_preset_names_the_pocket_for_both() -> None:
    preset = PRESETS[PresetName.POCKET]
    assert (preset.clip, preset.dino) == ("pocket/pocket", CLIP_TRUNK)
    assert ClipSource.parse(preset.clip) == ClipSource.parse(POCKET) == ClipSource(POCKET, POCKET)


def test_what_is_loaded_is_what_is_in_the_file(pocket: Path) -> None:
    stored = load_file(pocket / "open_clip_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16, torch.int64}
    loaded = load_clip(ClipSource.parse(POCKET))
    state = loaded.network.state_dict()
    assert state.keys() == stored.keys()
    for name, tensor in state.items():
        assert tensor.dtype in (torch.float32, torch.int64)
        torch.testing.assert_close(tensor, stored[name].to(tensor.dtype), rtol=0, atol=0)
    assert clip_pixels(loaded.network.visual) == PixelSpec((0.5, 0.4, 0.3), (0.2, 0.3, 0.1), Interpolation.BILINEAR)
    with torch.inference_mode():
        expected = loaded.network.encode_text(open_clip.tokenize(CAPTIONS), normalize=True).numpy()
    encoder = ClipText.from_pretrained(ClipSource.parse(POCKET), "cpu", Precision.FP32)
    assert encoder.trims
    np.testing.assert_allclose(encoder.encode(CAPTIONS), expected, atol=2e-6)


def test_an_identity_that_means_the_same_wherever_the_package_lies(
    pocket: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = ClipText.from_pretrained(ClipSource.parse(POCKET), "cpu")
    assert (here.identity.architecture, here.identity.pretrained, here.identity.checkpoint) == (POCKET, POCKET, None)
    assert source_of(here.identity) == ClipSource(POCKET, POCKET)
    assert here.identity.describe().startswith("pocket/pocket, 256-d, text weights sha256:")
    shutil.move(pocket, tmp_path / "elsewhere")
    monkeypatch.setattr(weights, "POCKET_FOLDER", tmp_path / "elsewhere")
    assert clip_text_of(here.identity, None, "cpu").identity == here.identity


def test_other_weights_of_the_same_name_are_told_apart(pocket: Path, tmp_path: Path) -> None:
    first = ClipText.from_pretrained(ClipSource.parse(POCKET), "cpu").identity
    fill_pocket(tmp_path / "other", seed=1)
    file = tmp_path / "other" / "open_clip_model.safetensors"
    replaced = ClipText.from_pretrained(ClipSource.parse(POCKET, file), "cpu").identity
    assert replaced.checkpoint == str(file)
    shutil.copy(file, pocket)
    second = ClipText.from_pretrained(ClipSource.parse(POCKET), "cpu").identity
    assert replaced.text_digest == second.text_digest != first.text_digest
    assert second.key()[0] == first.key()[0]


@pytest.mark.parametrize("missing", ["open_clip_model.safetensors", "open_clip_config.json"])
def test_a_package_without_it_says_so_in_one_line(
    pocket: Path, tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (pocket / missing).unlink()
    with pytest.raises(WeightsMissing, match=rf"CLIP pocket: this copy of the package lacks its file .*{missing}"):
        load_clip(ClipSource.parse(POCKET))
    corpus = write_captions(tmp_path / "mine.parquet", CAPTIONS)
    assert build_main(["--corpus", str(corpus), "--preset", "pocket", "--out", str(tmp_path / "shards")]) == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "install the package again, give --clip-checkpoint FILE, or use --preset untrained" in said


def test_weights_from_a_file_need_only_the_configuration(pocket: Path, tmp_path: Path) -> None:
    shutil.move(pocket / "open_clip_model.safetensors", tmp_path / "weights.safetensors")
    loaded = load_clip(ClipSource.parse(POCKET, tmp_path / "weights.safetensors"))
    stored = load_file(tmp_path / "weights.safetensors")
    torch.testing.assert_close(loaded.network.visual.head.proj.weight.data, stored["visual.head.proj.weight"].float())
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(EncoderError, match=r"--clip-checkpoint .*other\.safetensors: lacks 367 of this"):
        load_clip(ClipSource.parse(POCKET, tmp_path / "other.safetensors"))


def test_it_has_one_set_of_weights() -> None:
    with pytest.raises(EncoderError, match=r"--clip pocket/openai: its weights are: pocket"):
        load_clip(ClipSource.parse("pocket/openai"))


def test_pictures_are_labelled_with_it_on_this_machine_and_on_another(
    pocket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_captions(tmp_path / "mine.parquet", CAPTIONS)
    assert build_main(["--corpus", str(corpus), "--preset", "pocket", "--out", str(tmp_path / "shards")]) == 0
    manifest = (tmp_path / "shards/mine/manifest.json").read_text("utf-8")
    assert json.loads(manifest)["preset"] == "pocket"
    assert str(pocket) not in manifest
    (tmp_path / "pictures").mkdir()
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(noise).resize((120, 90)).save(tmp_path / f"pictures/{number}.png")

    arguments = [str(tmp_path / "pictures"), "--index", str(tmp_path / "shards"), "--short-side", "128"]
    assert label_main([*arguments, "--out", str(tmp_path / "here")]) == 0
    made_by = json.loads((tmp_path / "here/0.json").read_text("utf-8"))["made_by"]
    assert (made_by["preset"], made_by["dino"], made_by["dense"]) == ("pocket", CLIP_TRUNK, "feature-map")
    assert str(pocket) not in json.dumps(made_by)

    shutil.move(pocket, tmp_path / "another machine")
    monkeypatch.setattr(weights, "POCKET_FOLDER", tmp_path / "another machine")
    again = [*arguments, "--preset", "pocket", "--out", str(tmp_path / "there"), "--batch-size", "1"]
    assert label_main(again) == 0
    assert contents(tmp_path / "there") == contents(tmp_path / "here")

    capsys.readouterr()
    assert label_main([*arguments, "--dense", "gem", "--out", str(tmp_path / "refused")]) == 2
    assert "--dense gem rewrites the last blocks of a transformer" in capsys.readouterr().err


def test_the_shipped_configuration_is_one_that_the_labeler_can_use(pocket: Path) -> None:
    tower = clip_vectors(load_clip(ClipSource.parse(POCKET)).network.visual, short_side=64)
    assert isinstance(tower, ClipFeatureMap)
    assert (tower.patch, tower.dimension, tower.trunk.dimension) == (16, 256, 1280)


@pytest.mark.skipif(
    not (weights.POCKET_FOLDER / "open_clip_model.safetensors").exists(), reason="this checkout has no pocket weights"
)
def test_the_shipped_weights_are_finite_and_half_precision() -> None:
    stored = load_file(weights.POCKET_FOLDER / "open_clip_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} <= {torch.float16, torch.int64}
    assert all(torch.isfinite(tensor).all() for tensor in stored.values())
    assert load_clip(ClipSource.parse(POCKET)).network.state_dict().keys() == stored.keys()

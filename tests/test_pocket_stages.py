"""Stages that were stopped end in the weights of an uninterrupted run, and the whole command."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Crash
from convolutional import SHIPPED
from pocket_material import (
    TINY_CLIP,
    DicedGuides,
    DicedTeacher,
    assert_same_bits,
    crashing_at,
    diced_sentences,
    material_folder,
)
from safetensors.torch import load_file
from torch import Tensor

from pocket import blockwise, joint, losses, text_tower, train
from pocket.__main__ import main
from pocket.checkpoints import Place, kept
from pocket.config import JointConfig
from pocket.material import Material
from pocket.optimiser import Optimiser
from pocket.student import new_trunk
from pocket.text_tower import text_vectors
from pocket.tower import Tower


def test_blocks_that_were_stopped_end_in_the_weights_of_an_uninterrupted_run(
    material: Material, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"SAVE_EVERY": 2, "BATCH": 2, "SIDE": 32, "Teacher": DicedTeacher}.items():
        monkeypatch.setattr(blockwise, name, value)
    (tmp_path / "whole").mkdir()
    said: list[tuple[int, str]] = []
    whole_place = replace(place, work=tmp_path / "whole", report=lambda step, line: said.append((step, line)))
    whole = blockwise.train_blocks(material, whole_place, 3, seed=7)
    assert [step for step, _ in said] == [0, 2]
    assert len(said[-1][1].split()) == 18  # a word and a number for each block

    with monkeypatch.context() as patch:
        patch.setattr(Optimiser, "step", crashing_at(2, Optimiser.step))
        with pytest.raises(Crash):
            blockwise.train_blocks(material, place, 3, seed=7)
    state = kept(place.work / "blocks.pt")
    assert state is not None
    assert state["step"] == 2
    going_on = blockwise.train_blocks(material, place, 3, seed=7)
    assert_same_bits(going_on.state_dict(), whole.state_dict())

    monkeypatch.setattr(Optimiser, "step", crashing_at(0, Optimiser.step))  # nothing is left to do
    assert_same_bits(blockwise.train_blocks(material, place, 3, seed=7).state_dict(), whole.state_dict())
    assert going_on.training


def test_a_tower_that_was_stopped_ends_in_the_weights_of_an_uninterrupted_run(
    material: Material, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fakes = {"SAVE_EVERY": 2, "Guides": DicedGuides, "embed_sentences": diced_sentences}
    for name, value in {**fakes, "held_out": lambda tower, material, names: "well"}.items():
        monkeypatch.setattr(joint, name, value)
    monkeypatch.setattr(losses, "embed_sentences", diced_sentences)
    config = JointConfig(steps=3, batch=4, side=32, seed=5)

    def trained(where: Place) -> Tower:
        torch.manual_seed(0)
        return joint.train_tower(material, where, joint.new_tower(material, where, new_trunk(), config.seed), config)

    (tmp_path / "whole").mkdir()
    said: list[str] = []
    whole = trained(replace(place, work=tmp_path / "whole", report=lambda step, line: said.append(line)))
    assert said.count("held out: well") == 2

    with monkeypatch.context() as patch:
        patch.setattr(Optimiser, "step", crashing_at(2, Optimiser.step))
        with pytest.raises(Crash):
            trained(place)
    state = kept(place.work / "joint.pt")
    assert state is not None
    assert state["step"] == 2
    going_on = trained(place)
    assert_same_bits(going_on.state_dict(), whole.state_dict())
    assert not going_on.training

    monkeypatch.setattr(Optimiser, "step", crashing_at(0, Optimiser.step))
    assert_same_bits(trained(place).state_dict(), whole.state_dict())


def test_a_text_tower_that_was_stopped_ends_in_the_weights_of_an_uninterrupted_run(
    material: Material, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, evaluated_tower: Tower
) -> None:
    monkeypatch.setattr(train, "embed_sentences", diced_sentences)
    monkeypatch.setattr(train, "read_lines", lambda *_: [f"{number} red boats" for number in range(40)])
    config = material_folder(tmp_path, text_steps=3, name_steps=2)

    def trained(work: str) -> dict[str, Tensor]:
        (tmp_path / work).mkdir(exist_ok=True)
        own = replace(config, work=tmp_path / work)
        network = train.text_of(material, evaluated_tower, own, lambda stage, step, line: None)
        assert not network.training
        return network.state_dict()

    whole = trained("whole")
    with monkeypatch.context() as patch:
        patch.setattr(text_tower, "text_vectors", crashing_at(2, text_vectors))
        with pytest.raises(Crash):
            trained("stopped")
    assert not (tmp_path / "stopped/text.pt").exists()
    assert_same_bits(trained("stopped"), whole)
    monkeypatch.setattr(text_tower, "text_vectors", crashing_at(0, text_vectors))
    assert_same_bits(trained("stopped"), whole)


@pytest.fixture
def denormals() -> Iterator[None]:
    """Training flushes them; others may count on them."""
    yield
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("denormals")
def test_the_command_trains_all_stages_writes_the_weights_and_has_nothing_left_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    material_folder(tmp_path)
    model = {**TINY_CLIP, "vision_cfg": SHIPPED["model_cfg"]["vision_cfg"]}
    (tmp_path / "out/open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
    for module in (joint, losses, train):
        monkeypatch.setattr(module, "embed_sentences", diced_sentences)
    for name, value in {"BATCH": 2, "SIDE": 32, "Teacher": DicedTeacher}.items():
        monkeypatch.setattr(blockwise, name, value)
    monkeypatch.setattr(joint, "Guides", DicedGuides)
    monkeypatch.setattr(joint, "held_out", lambda tower, material, names: "well")
    monkeypatch.setattr(train, "JointConfig", lambda **told: JointConfig(**{**told, "batch": 4, "side": 32}))
    flags = f"--material {tmp_path}/material --work {tmp_path}/work --out {tmp_path}/out --block-steps 2"
    arguments = [
        *flags.split(),
        "--joint-steps",
        "2",
        "--refine-steps",
        "2",
        "--text-steps",
        "2",
        "--name-steps",
        "2",
        "--captions",
        "30",
    ]

    assert main(arguments) == 0
    file = tmp_path / "out/open_clip_model.safetensors"
    said = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in said[:-1]} == {"blocks", "tower", "refine", "text", "names"}
    assert said[-1].startswith(f"{tmp_path}/out: {file.stat().st_size:,} bytes of weights after ")
    state, tower = load_file(file), kept(tmp_path / "work/refine.pt")
    assert tower is not None
    torch.testing.assert_close(state["visual.head.proj.weight"], tower["tower"]["project.weight"].half())
    torch.testing.assert_close(state["visual.trunk.bn2.bias"], tower["tower"]["trunk.bn2.bias"].half())
    before = kept(tmp_path / "work/joint.pt")
    assert before is not None
    assert torch.equal(before["tower"]["read.weight"], tower["tower"]["read.weight"])  # texts may count on it
    assert not torch.equal(before["tower"]["project.weight"], tower["tower"]["project.weight"])

    first = file.read_bytes()
    file.unlink()
    monkeypatch.setattr(Optimiser, "step", crashing_at(0, Optimiser.step))
    monkeypatch.setattr(text_tower, "text_vectors", crashing_at(0, text_vectors))
    assert main(arguments) == 0
    assert file.read_bytes() == first
    assert not [
        line for line in capsys.readouterr().out.splitlines() if line.startswith(("blocks", "tower", "refine", "text"))
    ]


@pytest.mark.parametrize(
    "flag",
    [
        "--block-steps",
        "--joint-steps",
        "--refine-steps",
        "--text-steps",
        "--name-steps",
        "--captions",
    ],
)
@pytest.mark.parametrize("number", [0, -3])
def test_a_stage_of_no_steps_is_refused(tmp_path: Path, flag: str, number: int) -> None:
    with pytest.raises(ValueError, match=f"{flag} {number}: must be 1 or more"):
        material_folder(tmp_path, **{flag[2:].replace("-", "_"): number})


@pytest.mark.parametrize("missing", ["pool", "teachers", "captions", "vocab"])
def test_material_without_one_of_its_folders_is_refused_before_anything_is_loaded(
    tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in {"pool", "teachers", "captions", "vocab"} - {missing}:
        (tmp_path / folder).mkdir()
    with pytest.raises(SystemExit) as stopped:
        main(["--material", str(tmp_path)])
    assert stopped.value.code == 2
    assert f"--material {tmp_path}: has no folder {missing}/" in capsys.readouterr().err


def test_a_folder_without_the_networks_sizes_is_said_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("pool", "teachers", "captions", "vocab"):
        (tmp_path / folder).mkdir()
    with pytest.raises(SystemExit) as stopped:
        main(["--material", str(tmp_path), "--out", str(tmp_path / "new")])
    assert stopped.value.code == 2
    assert f"--out {tmp_path / 'new'}: has no open_clip_config.json; copy it there" in capsys.readouterr().err

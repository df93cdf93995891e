"""The trimmed text path against open_clip's own `encode_text`, which computes every position, for every family."""

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, cast

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from open_clip import CLIP, CoCa, CustomTextCLIP
from transformers import BertConfig, M2M100Config, MT5Config, RobertaConfig, XLMRobertaConfig

from encoders import causal_text, clip_text, fused_linear, loading, packed_linear, panel_linear, path_attention
from encoders.causal_text import CausalText, understands
from encoders.clip_text import ClipText, TreeTower, batches, text_lengths, trims_exactly
from encoders.errors import EncoderError
from encoders.loading import pick_precision
from encoders.panel_rows import Numbers
from encoders.prefixes import Prefixes, find_prefixes
from encoders.presets import Precision
from encoders.weights import ClipSource, LoadedClip

CAPTIONS = [
    "a brown dog runs along the wet beach at low tide",
    "",
    "lighthouse",
    "two cyclists 🚴🚴 and a 🐕 wait at the level crossing",
    "una señora vende piñas en la plaza; 市場で果物を売る女性; женщина продаёт фрукты",
    "boats " * 120,
    "a brown dog runs along the wet beach at low tide",
    "A BOWL OF SOUP, half-empty (with a spoon) -- 3.50 EUR",
    " ".join(f"the {n}th lamp of a long street," for n in range(40)),
]
"""Empty, one word, longer than any context, emoji, other scripts, a repeated caption."""

TOLERANCE = 5e-6
"""Components of unit vectors. Matrix products of another shape add up to 128 float32 products in another order, which
moves each sum by a few units of 6e-8, and three layers pass that on: 5e-7 was measured. Captions that differ are more
than 5e-3 apart, and the tests below assert it."""

TOLERANCE_IN_TILES = 3e-5
"""The same where factors have 16 bits (`encoders.packed_linear`): each term is right to 1e-5, and 1e-5 was measured."""

TOLERANCE_OF_INTEGERS = 5e-4
"""The same in integers of 16 bits: 2e-4 was measured, where float16 rounds off 1.2e-4."""

WRONG = 0.995
"""A cosine that not even 16-bit arithmetic may fall below."""

Tokenizer = Callable[[list[str]], torch.Tensor]


@dataclass(frozen=True)
class Words:
    """A tokenizer that gives every word a number, between a start and an end token, and pads with a third."""

    start: int = 0
    end: int = 2
    padding: int = 1
    context: int = 77

    def __call__(self, captions: list[str]) -> torch.Tensor:
        """Tokenise n captions: int64 [n, context]."""
        tokens = torch.full((len(captions), self.context), self.padding)
        for row, caption in enumerate(captions):
            words = [10 + zlib.crc32(word.encode()) % 490 for word in caption.split()]
            words = [self.start, *words[: self.context - 2], self.end]
            tokens[row, : len(words)] = torch.tensor(words)
        return tokens


@dataclass(frozen=True)
class Family:
    """A kind of network, what differs in its text configuration, and whether it may be trimmed."""

    kind: type
    trims: bool
    text: dict[str, Any] = field(default_factory=dict)
    tokenizer: Tokenizer = open_clip.tokenize
    quick_gelu: bool = False
    transformers: Any = None


SIGLIP = {"no_causal_mask": True, "pool_type": "last", "proj_bias": True, "vocab_size": 500, "context_length": 64}
SMALL = {
    "vocab_size": 500, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 90, "pad_token_id": 1,
}  # fmt: skip
MT5 = {"vocab_size": 500, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "pad_token_id": 0}
NLLB = {
    "vocab_size": 500, "d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 90,
    "pad_token_id": 1,
}  # fmt: skip


def hugging_face(config: Any, pooler: str, kind: type = CustomTextCLIP, **text: Any) -> Family:
    text = {"hf_pooler_type": pooler, "hf_proj_type": "linear", "vocab_size": 500, **text}
    return Family(kind, trims=True, text=text, tokenizer=Words(padding=config.pad_token_id), transformers=config)


CAUSAL = {
    "CLIP": Family(CLIP, trims=True),
    "CLIP with QuickGELU": Family(CLIP, trims=True, quick_gelu=True),
    "CLIP, heads of 64": Family(CLIP, trims=True, text={"width": 128}),
    "CLIP, heads of 64, with QuickGELU": Family(CLIP, trims=True, text={"width": 128}, quick_gelu=True),
    "CLIP, short context": Family(
        CLIP, trims=True, text={"context_length": 32}, tokenizer=partial(open_clip.tokenize, context_length=32)
    ),
    "CLIP, end token by number": Family(
        CLIP, trims=True, text={"pool_type": "eos", "eos_id": 2, "vocab_size": 500}, tokenizer=Words()
    ),
    "CLIP, end token is number 0": Family(
        CLIP, trims=True, text={"pool_type": "eos", "eos_id": 0, "vocab_size": 500}, tokenizer=Words(start=2, end=0)
    ),
    "text tower": Family(CustomTextCLIP, trims=True),
    "text tower, end token by number": Family(CustomTextCLIP, trims=True, text={"pool_type": "eos", "eos_id": 49407}),
    "text tower, end token fills up": Family(
        CustomTextCLIP,
        trims=True,
        text={"pool_type": "eos", "eos_id": 1, "vocab_size": 500},
        tokenizer=Words(start=3, end=1, padding=1),
    ),
    "text tower, projection with bias": Family(CustomTextCLIP, trims=True, text={"proj_bias": True}),
    "text tower, no projection": Family(CustomTextCLIP, trims=True, text={"proj_type": "none"}),
    "text tower, layer scale": Family(CustomTextCLIP, trims=True, text={"ls_init_value": 0.5}),
    "text tower, blocks of its own": Family(CustomTextCLIP, trims=True, text={"qk_norm": True, "scale_fc": True}),
}
HEADS_OF_64 = ["CLIP, heads of 64", "CLIP, heads of 64, with QuickGELU"]
PADDED = {
    "SigLIP": Family(CustomTextCLIP, trims=False, text=SIGLIP, tokenizer=Words(start=3, end=1, padding=1, context=64)),
    "SigLIP, no projection": Family(
        CustomTextCLIP,
        trims=False,
        text={**SIGLIP, "proj_bias": False, "proj_type": "none"},
        tokenizer=Words(start=3, end=1, padding=1, context=64),
    ),
    "CLIPA": Family(CLIP, trims=False, text={"no_causal_mask": True, "pool_type": "last"}),
    "MobileCLIP": Family(CustomTextCLIP, trims=False, text={"no_causal_mask": True}),
    "CoCa's tower": Family(CustomTextCLIP, trims=False, text={"embed_cls": True}),
    "CoCa": Family(
        CoCa,
        trims=False,
        text={"context_length": 76, "embed_cls": True, "output_tokens": True},
        tokenizer=partial(open_clip.tokenize, context_length=76),
    ),
}
HUGGING_FACE = {
    "BERT, mean": hugging_face(BertConfig(**SMALL), "mean_pooler"),
    "BERT, its own pooler": hugging_face(BertConfig(**SMALL), "cls_pooler", hf_proj_type="mlp"),
    "RoBERTa, mean": hugging_face(RobertaConfig(**SMALL), "mean_pooler"),
    "RoBERTa, first token": hugging_face(RobertaConfig(**SMALL), "cls_last_hidden_state_pooler"),
    "XLM-RoBERTa, mean": hugging_face(XLMRobertaConfig(**SMALL), "mean_pooler", hf_proj_type="mlp"),
    "mT5, mean": hugging_face(MT5Config(**MT5), "mean_pooler"),
    "NLLB, first token": hugging_face(M2M100Config(**NLLB), "cls_pooler"),
    "CoCa with RoBERTa": hugging_face(RobertaConfig(**SMALL), "mean_pooler", CoCa, output_tokens=True),
}
FAMILIES = {**CAUSAL, **PADDED, **HUGGING_FACE}

Load = Callable[[str], LoadedClip]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """A function from a family's name to a small random network, made once."""
    made: dict[str, LoadedClip] = {}

    def load_it(name: str) -> LoadedClip:
        if name not in made:
            family = FAMILIES[name]
            text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3, **family.text}
            if family.transformers is not None:
                folder = tmp_path_factory.mktemp("transformers")
                family.transformers.save_pretrained(folder)
                text |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
            made[name] = network_of(family, text)
        return made[name]

    return load_it


def network_of(family: Family, text: dict[str, Any]) -> LoadedClip:
    """A network in which every parameter, biases and gains included, is random and large enough to matter."""
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    config: dict[str, Any] = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text, "quick_gelu": family.quick_gelu}
    if family.kind is CoCa:
        vision |= {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
        config["multimodal_cfg"] = {**text, "hf_model_name": None}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = family.kind(**config)
        with torch.no_grad():
            for parameter in network.parameters():
                gain = 1.0 if parameter.ndim == 1 else 0.0
                parameter.mul_(0.7).add_(0.2 * torch.randn_like(parameter)).add_(0.3 * gain)
    return LoadedClip(network.eval(), config, ClipSource("small"))


def reference(clip: LoadedClip, tokens: torch.Tensor) -> NDArray[np.float32]:
    """open_clip's own: every position, one batch, scaled to length 1."""
    with torch.inference_mode():
        return torch.nn.functional.normalize(clip.network.encode_text(tokens), dim=-1).numpy()


def assert_same(ours: NDArray[np.float32], theirs: NDArray[np.float32], tolerance: float = TOLERANCE) -> None:
    assert (ours * theirs).sum(axis=1).min() >= 0.99999
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def tower_of(clip: LoadedClip) -> Any:
    return getattr(clip.network, "text", clip.network)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of one or a few captions, so that each is cut where it ends and not after the longest of all."""
    monkeypatch.setattr(clip_text, "TOKENS_PER_BATCH", 40)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("tiles", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_equals_open_clips_own_text_path(load: Load, name: str, tiles: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """Also without the processor's tiles, where it has any."""
    if not tiles:
        monkeypatch.setattr(causal_text, "packing_of", lambda *_: None)
    tolerance = TOLERANCE_IN_TILES if tiles and packed_linear.fits() else TOLERANCE
    clip, tokenizer = load(name), FAMILIES[name].tokenizer
    encoder = ClipText(clip, tokenizer)
    vectors = encoder.encode(CAPTIONS)
    assert encoder.trims is trims_exactly(tower_of(clip)) is FAMILIES[name].trims
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(CAPTIONS), encoder.dimension)
    theirs = reference(clip, tokenizer(CAPTIONS))
    assert_same(vectors, theirs, tolerance)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-6)
    apart = np.abs(theirs[:, None] - theirs).max(axis=2)[np.triu_indices(len(CAPTIONS), 1)]
    assert np.sort(apart)[1] > 5e-3, "where all captions look alike, equality says nothing"


@pytest.mark.parametrize("name", FAMILIES)
def test_computes_the_positions_it_needs(load: Load, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, tokenizer = load(name), FAMILIES[name].tokenizer
    computed: list[int] = []
    monkeypatch.setattr(clip_text, "find_prefixes", lambda *rows: noted(find_prefixes(*rows), computed))
    words = next(module for module in tower_of(clip).modules() if isinstance(module, torch.nn.Embedding))
    hook = words.register_forward_pre_hook(lambda _, inputs: computed.append(inputs[0].numel()))
    try:
        ClipText(clip, tokenizer).encode(["lighthouse", "red lighthouse"])
    finally:
        hook.remove()
    context = tokenizer([""]).shape[1]
    beginnings = 1 + 2 + 3  # the start, which both share; "lighthouse" and its end; "red", "lighthouse" and its end
    trimmed = beginnings if understands(tower_of(clip)) else 2 * 4
    assert computed == [trimmed if FAMILIES[name].trims else 2 * context]


def noted(tree: Prefixes, computed: list[int]) -> Prefixes:
    computed.append(len(tree.tokens))
    return tree


def after_the_end(tokens: torch.Tensor) -> torch.Tensor:
    """The same captions with other words where the padding was, but for its first (the end token can look like it)."""
    needed = 2 + torch.tensor([int((row != row[-1]).nonzero().max()) for row in tokens])
    noise = torch.randint(10, 400, tokens.shape, generator=torch.Generator().manual_seed(4))
    return torch.where(torch.arange(tokens.shape[1]) < needed[:, None], tokens, noise)


@pytest.mark.parametrize("name", [*CAUSAL, *PADDED])
def test_the_verdict_is_what_the_tower_does(load: Load, name: str) -> None:
    """open_clip's own result changes with what stands after the end token exactly where we do not trim."""
    clip, tokens = load(name), FAMILIES[name].tokenizer(CAPTIONS[:4])
    before, after = reference(clip, tokens), reference(clip, after_the_end(tokens))
    if FAMILIES[name].trims:
        assert_same(after, before)
    else:
        assert (after * before).sum(axis=1).min() < WRONG


@pytest.mark.parametrize("name", sorted(PADDED.keys() - {"CLIPA", "CoCa"}))  # these two refuse another length anyway
def test_trimming_would_be_wrong(load: Load, name: str) -> None:
    clip = load(name)
    tokens = FAMILIES[name].tokenizer(["red lighthouse"])
    assert float(reference(clip, tokens[:, :4])[0] @ reference(clip, tokens)[0]) < WRONG


def test_max_pooling_is_not_trimmed() -> None:
    """open_clip's max pooler masks the words and keeps the padding (and fails: its mask is not boolean)."""
    tower = open_clip.hf_model.HFTextEncoder(
        "", output_dim=32, config=BertConfig(**SMALL), pooler_type="max_pooler", proj_type="linear"
    )
    assert not trims_exactly(tower)


def test_padding_between_words_does_not_end_a_caption(load: Load) -> None:
    clip = load("RoBERTa, mean")
    tokens = Words()(["red lighthouse", "dog"])
    tokens[0, 2] = 1
    assert text_lengths(tower_of(clip))(tokens).tolist() == [4, 3]
    assert_same(ClipText(clip, lambda _: tokens).encode(["", ""]), reference(clip, tokens))


@pytest.mark.parametrize("name", ["CLIP, end token by number", "text tower, end token by number"])
def test_a_caption_without_an_end_token_is_read_where_open_clip_reads_it(load: Load, name: str) -> None:
    clip = load(name)
    tokens = FAMILIES[name].tokenizer(["red lighthouse", "dog"])
    tokens[0, 3] = 7
    assert text_lengths(tower_of(clip))(tokens).tolist() == [1, 3]
    assert_same(ClipText(clip, lambda _: tokens).encode(["", ""]), reference(clip, tokens))


def test_lengths_end_with_the_end_token(load: Load) -> None:
    lengths = text_lengths(load("CLIP").network)(open_clip.tokenize(["dog", "", "boats " * 120]))
    assert lengths.tolist() == [3, 2, 77]


def test_a_tower_read_out_elsewhere_is_not_trimmed() -> None:
    tower = open_clip.transformer.TextTransformer(width=32, heads=2, layers=1, pool_type="last")
    assert tower.attn_mask is not None
    assert not trims_exactly(tower)


@pytest.mark.parametrize("name", ["CLIP", "SigLIP", "XLM-RoBERTa, mean"])
def test_order_and_company_do_not_matter(load: Load, name: str, request: pytest.FixtureRequest) -> None:
    encoder = ClipText(load(name), FAMILIES[name].tokenizer)
    together = encoder.encode(CAPTIONS)
    alone = np.concatenate([encoder.encode([caption]) for caption in CAPTIONS])
    np.testing.assert_allclose(alone, together, rtol=0, atol=TOLERANCE)
    order = np.random.default_rng(5).permutation(len(CAPTIONS))
    permuted = encoder.encode([CAPTIONS[place] for place in order])
    np.testing.assert_allclose(permuted, together[order], rtol=0, atol=TOLERANCE)
    request.getfixturevalue("small_batches")
    np.testing.assert_allclose(encoder.encode(tuple(CAPTIONS)), together, rtol=0, atol=TOLERANCE)


def test_the_same_captions_give_the_same_bytes(load: Load) -> None:
    encoder = ClipText(load("CLIP"), open_clip.tokenize)
    np.testing.assert_array_equal(encoder.encode(CAPTIONS), encoder.encode(CAPTIONS))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", [*HEADS_OF_64, "CLIP", "text tower, layer scale", "XLM-RoBERTa, mean"])
def test_bfloat16_stays_near(load: Load, name: str, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """With attention and products of our own, where they fit the tower, and without."""
    if not compiled:
        monkeypatch.setattr(causal_text, "packing_of", lambda *_: None)
    monkeypatch.setattr(path_attention, "available", lambda width, heads: compiled and width == 64 * heads)
    clip, tokenizer = load(name), FAMILIES[name].tokenizer
    near = ClipText(clip, tokenizer, precision=Precision.BF16)
    assert near.identity.precision == "bf16"
    cosines = (near.encode(CAPTIONS) * reference(clip, tokenizer(CAPTIONS))).sum(axis=1)
    assert cosines.min() >= 0.999
    assert cosines.min() < 1 - 1e-7, "as exact as float32: it was not computed in bfloat16"


@pytest.mark.skipif(not panel_linear.possible(Numbers.INTEGERS), reason="no AVX2")
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", HEADS_OF_64)
def test_integers_stay_nearer(load: Load, name: str, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """With attention of our own and without; as near as float16 is, in which vectors are stored."""
    monkeypatch.setattr(path_attention, "available", lambda *_: compiled)
    clip, tokenizer = load(name), FAMILIES[name].tokenizer
    near = ClipText(clip, tokenizer, precision=Precision.INT16)
    assert near.identity.precision == "int16"
    vectors, theirs = near.encode(CAPTIONS), reference(clip, tokenizer(CAPTIONS))
    assert_same(vectors, theirs, TOLERANCE_OF_INTEGERS)
    assert np.abs(vectors - theirs).max() > TOLERANCE, "as exact as float32: it was not computed in integers"


@pytest.mark.parametrize("name", ["CLIP", "text tower, blocks of its own", "SigLIP", "XLM-RoBERTa, mean"])
def test_towers_that_do_not_fit_are_computed_in_float32(load: Load, name: str) -> None:
    """Layers of another width than a multiple of 128, blocks and towers of another kind."""
    tokenizer = FAMILIES[name].tokenizer
    asked, whole = (ClipText(load(name), tokenizer, precision=each) for each in (Precision.INT16, Precision.FP32))
    assert asked.identity == whole.identity
    np.testing.assert_array_equal(asked.encode(CAPTIONS), whole.encode(CAPTIONS))


@pytest.mark.parametrize(
    ("features", "asked", "got"),
    [
        ({"avx2"}, Precision.AUTO, Precision.INT16),
        ({"avx2"}, Precision.BF16, Precision.INT16),
        ({"avx2"}, Precision.FP32, Precision.FP32),
        ({"avx2", "avx512f"}, Precision.AUTO, Precision.FP32),
        ({"avx2", "avx512f"}, Precision.BF16, Precision.BF16),
        ({"avx2", "avx512f", "avx512bf16"}, Precision.AUTO, Precision.BF16),
        ({"avx2", "avx512f", "avx512bf16"}, Precision.FP32, Precision.FP32),
        ({"neon"}, Precision.AUTO, Precision.FP32),
    ],
)
def test_the_precision_that_a_processor_gets(
    features: set[str],
    asked: Precision,
    got: Precision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(panel_linear, "worthwhile", lambda _: "avx2" in features and "avx512f" not in features)
    monkeypatch.setattr(loading, "has", lambda _, feature: feature in features)
    assert pick_precision(asked, "cpu") is got


def test_integers_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel_linear, "possible", lambda _: False)
    for device in ("cpu", "cuda:0"):
        with pytest.raises(EncoderError, match=f"int16: only on processors with AVX2, found {device}; use auto"):
            pick_precision(Precision.INT16, device)


@pytest.mark.parametrize("name", ["CLIP", "CLIP with QuickGELU", "text tower, layer scale"])
def test_a_processor_without_fused_products_gives_the_same(
    load: Load, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_linear, "works", lambda *_: False)
    clip, theirs = load(name), reference(load(name), open_clip.tokenize(CAPTIONS))
    assert_same(ClipText(clip, open_clip.tokenize).encode(CAPTIONS), theirs)
    near = ClipText(clip, open_clip.tokenize, precision=Precision.BF16).encode(CAPTIONS)
    assert (near * theirs).sum(axis=1).min() >= 0.999


def test_two_devices_share_the_work_and_change_nothing(load: Load) -> None:
    clip = load("CLIP")
    alone, both = ClipText(clip, open_clip.tokenize), ClipText(clip, open_clip.tokenize, ("cpu", "cpu"))
    assert (alone.at_once, both.at_once) == (2, 3)
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(both.encode, [CAPTIONS] * 6))
    for vectors in found:
        np.testing.assert_array_equal(vectors, alone.encode(CAPTIONS))


def test_captions_are_made_ready_while_a_gpu_computes_those_before() -> None:
    """A GPU is only told what to compute; whoever takes a result waits for it."""
    events = []

    class Text:
        def asked(self, tree: Prefixes) -> Prefixes:
            events.append("ready")
            return tree

        def __call__(self, tree: Prefixes) -> torch.Tensor:
            events.append("begun")
            return torch.from_numpy(tree.tokens[tree.ends])

    tokens, taken = np.array([[1, 9, 0], [2, 8, 0], [3, 4, 7]]), np.zeros(3, np.int64)
    for rows, ends in TreeTower(cast(CausalText, Text()), "cpu", budget=3)(tokens, np.array([2, 2, 3])):
        taken[rows] = ends
        events.append("taken")
    assert events == ["ready", "begun", "ready", "taken", "begun", "ready", "taken", "begun", "taken"]
    assert taken.tolist() == [9, 8, 7]


def test_reports_every_caption_and_can_be_stopped(load: Load, small_batches: None) -> None:
    encoder, told = ClipText(load("CLIP"), open_clip.tokenize), list[int]()
    encoder.encode(CAPTIONS, told.append)
    assert sum(told) == len(CAPTIONS)
    assert len(told) > 1

    def stop(count: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        encoder.encode(CAPTIONS, stop)
    assert len(encoder.encode(CAPTIONS)) == len(CAPTIONS), "the tower was given back"


def test_no_captions(load: Load) -> None:
    vectors = ClipText(load("CLIP"), open_clip.tokenize).encode([])
    assert (vectors.shape, vectors.dtype) == ((0, 32), np.float32)


@given(st.lists(st.integers(1, 77), max_size=200), st.integers(1, 400))
def test_batches_hold_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, np.int64)
    found = list(batches(array, budget))
    assert sorted(row for rows in found for row in rows.tolist()) == list(range(len(lengths)))
    for rows in found:
        assert array[rows[-1]] == array[rows].max()
        assert len(rows) == 1 or len(rows) * array[rows[-1]] <= budget
    for rows, later in pairwise(found):
        assert array[rows[-1]] <= array[later[0]], "shortest first"
        assert (len(rows) + 1) * array[later[0]] > budget, "no batch could have held one more"

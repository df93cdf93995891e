"""Shared beginnings against a tree of dictionaries, and CLIP's fast tokenizer against open_clip's own."""

from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from encoders.fast_tokenizer import FastTokenizer, faster
from encoders.prefixes import find_prefixes, shared_lengths, sorted_rows, tree_batches

SHARED = Path(__file__).parents[2] / "shared/data/captions"
CONTEXT = 6
captions = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=CONTEXT), min_size=1, max_size=30)


def padded(rows: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    tokens = np.zeros((len(rows), CONTEXT), np.int64)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = row
    return tokens, np.array([len(row) for row in rows])


@given(captions)
def test_rows_are_sorted_as_lists_are(rows: list[list[int]]) -> None:
    tokens, _ = padded(rows)
    assert [rows[row] for row in sorted_rows(tokens)] == sorted(rows)


def test_large_numbers_are_sorted_as_numbers() -> None:
    assert sorted_rows(np.array([[49407, 1], [256, 2], [255, 3], [49406, 300]])).tolist() == [2, 1, 3, 0]


@given(captions)
def test_every_beginning_is_one_node(rows: list[list[int]]) -> None:
    tokens, lengths = padded(sorted(rows))
    tree = find_prefixes(tokens, lengths)
    beginnings: dict[tuple[int, ...], int] = {}
    for row, text in enumerate(sorted(rows)):
        for end in range(1, len(text) + 1):
            is_new = tuple(text[:end]) not in beginnings
            node = beginnings.setdefault(tuple(text[:end]), len(beginnings))
            assert tree.nodes[row, end - 1] == node
            assert tree.fresh[row, end - 1] == is_new
            assert (tree.tokens[node], tree.positions[node]) == (text[end - 1], end - 1)
        assert not tree.fresh[row, len(text) :].any()
        assert tree.ends[row] == beginnings[tuple(text)]
    assert len(tree.tokens) == len(tree.positions) == len(beginnings) == tree.fresh.sum()


@given(captions, st.integers(1, 40))
def test_batches_are_neighbours_within_the_budget(rows: list[list[int]], budget: int) -> None:
    tokens, lengths = padded(sorted(rows))
    found = list(tree_batches(lengths, shared_lengths(tokens, lengths), budget))
    assert [row for some in found for row in range(len(rows))[some]] == list(range(len(rows)))
    for some in found:
        nodes = len(find_prefixes(tokens[some], lengths[some]).tokens)
        assert nodes <= budget or some.stop - some.start == 1
        if some.stop < len(rows):
            more = slice(some.start, some.stop + 1)
            assert len(find_prefixes(tokens[more], lengths[more]).tokens) > budget, "the batch could have held one more"


# --- the tokenizer ---------------------------------------------------------------------------------------------------

SLOW = open_clip.get_tokenizer("ViT-B-32")
FAST = faster(SLOW)
HARD = [
    "", " ", "a dog", "A DOG'S  dinner, they'll  say; it's 3.50 (EUR)!", "I'VE I'M don't 'tis ''s s'", "a\tb\nc",
    "x" * 300, "no-one_knows #hashtag @user http://a.b/c?d=e", "1234567890 12a34b", "<start_of_text> and <END_OF_TEXT>",
    "&amp; &lt;b&gt; AT&T", "café naïve", "un café à 5 €", "市場 🚴", "\u201cquoted\u201d \u2019s", "\x1b[31mred",
    "\x00", "\u0130stanbul", "a" * 76,
    "... !!! ??? --- ~~~", "</w>", "a</w>b", "<|endoftext|>", "\u017ftrange \ufb01ne",
]  # fmt: skip


def test_the_fast_tokenizer_is_used_where_it_is_the_same() -> None:
    assert type(FAST) is FastTokenizer
    assert type(faster(open_clip.get_tokenizer("ViT-B-32-quickgelu"))) is FastTokenizer
    for other in (open_clip.tokenize, open_clip.tokenizer.SimpleTokenizer(clean="canonicalize"),
                  open_clip.tokenizer.SimpleTokenizer(reduction_mask="simple"),
                  open_clip.tokenizer.SimpleTokenizer(additional_special_tokens=["<mine>"])):  # fmt: skip
        assert faster(other) is other


def test_hard_texts() -> None:
    np.testing.assert_array_equal(FAST(HARD), SLOW(HARD))


@given(st.lists(st.text(st.characters(min_codepoint=1, max_codepoint=0x24F), max_size=60), max_size=4))
def test_any_text(texts: list[str]) -> None:
    np.testing.assert_array_equal(FAST(texts), SLOW(texts))


@given(st.lists(st.text(st.sampled_from("aAbst'ved<>_0 9.,-"), max_size=90), min_size=1, max_size=8))
def test_any_plain_text(texts: list[str]) -> None:
    np.testing.assert_array_equal(FAST(texts), SLOW(texts))


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no captions in {SHARED}")
@pytest.mark.parametrize(("name", "column"), [("cc3m_validation", "caption"), ("laion_sample", "TEXT")])
def test_real_captions(name: str, column: str) -> None:
    texts = [str(text) for text in pq.read_table(SHARED / f"{name}.parquet")[column].to_pylist()[:5000]]
    np.testing.assert_array_equal(FAST(texts), SLOW(texts))

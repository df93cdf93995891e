"""Attention along paths against the formula, caption by caption."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoders import path_attention
from encoders.path_attention import HEAD, Paths
from encoders.prefixes import Prefixes, find_prefixes, sorted_rows

TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2**-6}
WORDS = st.lists(st.integers(1, 3), min_size=1, max_size=40)


def tree_of(captions: list[list[int]]) -> Prefixes:
    """The tree of captions of any words."""
    tokens = np.zeros((len(captions), max(map(len, captions))), np.int64)
    for row, words in zip(tokens, captions, strict=True):
        row[: len(words)] = words
    tokens = tokens[sorted_rows(tokens)]
    return find_prefixes(tokens, (tokens > 0).sum(axis=1))


def literally(tree: Prefixes, query: torch.Tensor, key_value: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention of the last position of every beginning to that beginning, float64 [m, W]."""
    key, value = key_value.double().split(query.shape[1], dim=1)
    mixed = torch.zeros(len(tree.tokens), query.shape[1], dtype=torch.float64)
    for nodes, length in zip(tree.nodes, tree.lengths, strict=True):
        for end in range(1, length + 1):
            path, node = nodes[:end], nodes[end - 1]
            for head in range(heads):
                some = slice(head * HEAD, (head + 1) * HEAD)
                scores = key[path, some] @ query.double()[node, some] / HEAD**0.5
                mixed[node, some] = scores.softmax(dim=0) @ value[path, some]
    return mixed


@pytest.mark.parametrize("dtype", TOLERANCE)
@given(captions=st.lists(WORDS, min_size=1, max_size=12), heads=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_node_looks_at_its_beginning(
    dtype: torch.dtype, captions: list[list[int]], heads: int, seed: int
) -> None:
    tree = tree_of(captions)
    generator, count = torch.Generator().manual_seed(seed), len(tree.tokens)
    query = (2 * torch.randn(count + 5, heads * HEAD, generator=generator)).to(dtype)
    key_value = torch.randn(count + 5, 2 * heads * HEAD, generator=generator).to(dtype)
    expected = literally(tree, query, key_value, heads)
    paths = Paths(tree)
    mixed = paths.attend(query, key_value)
    assert mixed.dtype is dtype
    assert (mixed[:count].double() - expected).abs().max() < TOLERANCE[dtype]
    assert not mixed[count:].any()
    some = np.random.default_rng(seed).integers(0, count, 7)
    asked = paths.attend(query[some].contiguous(), key_value, some)
    assert torch.equal(asked, mixed[some])


def test_threads_change_nothing() -> None:
    tree = tree_of([[1, 2, 3, number % 7 + 1, number] for number in range(1, 200)])
    query, key_value = torch.randn(len(tree.tokens), HEAD), torch.randn(len(tree.tokens), 2 * HEAD)
    expected, before = Paths(tree).attend(query, key_value), torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert torch.equal(Paths(tree).attend(query, key_value), expected)
    finally:
        torch.set_num_threads(before)


def test_what_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert path_attention.work()
    assert not path_attention.available(128, 4)  # heads of another size
    for broken in (lambda *_: torch.zeros(7, HEAD), lambda *_: 1 / 0):
        path_attention.work.cache_clear()
        monkeypatch.setattr(Paths, "attend", broken)
        assert not path_attention.work()
    path_attention.work.cache_clear()

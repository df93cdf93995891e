"""Tiles of a tree against loops over captions, and attention over them against attention caption by caption."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from encoders.causal_text import Group, mix
from encoders.prefixes import Prefixes, find_prefixes
from encoders.tree_tiles import DEPTHS, KEYS_MULTIPLE, TILE, Tiles, cut_tiles

CONTEXT = 77
HEADS, WIDTH = 2, 16

captions = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=12), min_size=1, max_size=40)


def tree_of(rows: list[list[int]]) -> Prefixes:
    tokens = np.zeros((len(rows), CONTEXT), np.int64)
    for number, row in enumerate(sorted(rows)):
        tokens[number, : len(row)] = row
    return find_prefixes(tokens, np.array([len(row) for row in sorted(rows)]))


def long_captions() -> list[list[int]]:
    """Many beginnings, some shared far into the caption, of up to 77 tokens."""
    rng = np.random.default_rng(7)
    stems = [rng.integers(1, 9, CONTEXT).tolist() for _ in range(6)]
    cuts = rng.integers(0, 70, 60)
    return [stems[row % 6][:cut] + rng.integers(1, 9, rng.integers(1, 8)).tolist() for row, cut in enumerate(cuts)]


def beginnings(tree: Prefixes) -> dict[int, list[int]]:
    """The nodes that each node looks at: those of a caption up to it."""
    found = {}
    for nodes, length in zip(tree.nodes.tolist(), tree.lengths.tolist(), strict=True):
        for end in range(length):
            found[nodes[end]] = nodes[: end + 1]
    return found


def looks_at(tiles: Tiles, size: int) -> dict[int, list[int]]:
    """The same, as the tiles have it: of each place, the nodes at the places that it sees."""
    found = {}
    for group in tiles.groups:
        for tile, start in enumerate(range(group.places.start, group.places.stop, size)):
            for row in range(size):
                found[start + row] = sorted(tiles.nodes[group.keys[tile][group.visible[tile, row]]].tolist())
    return found


@pytest.mark.parametrize("rows", [long_captions(), [[1]], [[1, 2]] * 3, [[word] * 77 for word in range(1, 9)]])
def test_a_place_looks_at_its_beginning(rows: list[list[int]]) -> None:
    check(tree_of(rows), TILE)


@given(captions, st.sampled_from([1, 2, 4, 8]))
def test_a_place_looks_at_its_beginning_in_any_tree(rows: list[list[int]], size: int) -> None:
    check(tree_of(rows), size)


def check(tree: Prefixes, size: int) -> None:
    tiles, wanted = cut_tiles(tree, size), beginnings(tree)
    count = len(tree.tokens)
    np.testing.assert_array_equal(tiles.nodes[tiles.places], np.arange(count))
    assert len(set(tiles.places.tolist())) == count
    assert len(tiles.nodes) == -(-count // size) * size
    found = looks_at(tiles, size)
    assert found == {place: wanted[node] for place, node in enumerate(tiles.nodes.tolist())}, "each node once, sorted"
    behind = 0
    for group in tiles.groups:
        assert group.places.start == behind
        behind = group.places.stop
        assert group.keys.shape[1] == group.visible.shape[2]
        assert (group.keys.shape[1] - size) % KEYS_MULTIPLE == 0
    assert behind == len(tiles.nodes)
    assert len(tiles.groups) <= len(DEPTHS) + 1


def grouped(tiles: Tiles, dtype: torch.dtype) -> list[Group]:
    masks = [np.where(group.visible, 0, -np.inf)[:, None] for group in tiles.groups]
    return [
        Group(group.places, torch.from_numpy(group.keys.ravel()), torch.from_numpy(mask).to(dtype))
        for group, mask in zip(tiles.groups, masks, strict=True)
    ]


def slow_attention(query: NDArray[np.float64], pairs: NDArray[np.float64], tree: Prefixes) -> NDArray[np.float64]:
    """Softmax of the scaled products with the beginning, for each node and head by itself."""
    keys, values = np.split(pairs, 2, axis=1)
    answers = np.zeros_like(query)
    for node, seen in beginnings(tree).items():
        for head in np.split(np.arange(WIDTH), HEADS):
            scores = keys[np.ix_(seen, head)] @ query[node, head] / len(head) ** 0.5
            shares = np.exp(scores - scores.max())
            answers[node, head] = shares / shares.sum() @ values[np.ix_(seen, head)]
    return answers


@pytest.mark.parametrize("size", [TILE, 2 * TILE])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-6), (torch.bfloat16, 2**-6)])
def test_attention_over_tiles_is_attention_to_the_beginning(dtype: torch.dtype, error: float, size: int) -> None:
    tree = tree_of(long_captions())
    tiles = cut_tiles(tree, size)
    assert len(tiles.groups) > 2, "tiles of several depths"
    generator = torch.Generator().manual_seed(1)
    nodes = torch.from_numpy(tiles.nodes)

    def random(width: int) -> Tensor:
        return torch.randn(len(tree.tokens), width, generator=generator).to(dtype)

    query, pairs = random(WIDTH), random(2 * WIDTH)
    found = mix(query[nodes], pairs[nodes], grouped(tiles, dtype), HEADS)
    right = slow_attention(query.double().numpy(), pairs.double().numpy(), tree)
    assert found.dtype is dtype
    np.testing.assert_allclose(found.double().numpy(), right[tiles.nodes], rtol=0, atol=error)

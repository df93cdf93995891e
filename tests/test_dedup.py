"""Deduplication against a plain dictionary, with limits so small that every path is taken."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from build_index import dedup
from build_index.dedup import SeenCaptions


def digest(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


class PlainModel:
    """What SeenCaptions must be equal to."""

    def __init__(self) -> None:
        self.rows: dict[bytes, int] = {}

    def assign(self, digests: list[bytes]) -> tuple[list[int], list[bool]]:
        rows, new = [], []
        for key in digests:
            new.append(key not in self.rows)
            rows.append(self.rows.setdefault(key, len(self.rows)))
        return rows, new


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup, "FRESH_LIMIT", 4)
    monkeypatch.setattr(dedup, "RUN_LIMIT", 16)


halves = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1]).map(lambda half: half.to_bytes(8, "little"))
clashing = st.tuples(halves, halves).map(b"".join)  # 25 hashes, which share their halves
scattered = st.integers(0, 60).map(digest)


@given(st.lists(st.lists(scattered | clashing, max_size=12), max_size=30))
@settings(max_examples=200)
def test_against_a_dictionary(batches: list[list[bytes]]) -> None:
    seen, model = SeenCaptions(), PlainModel()
    for batch in batches:
        assert seen.assign(batch) == model.assign(batch)
        assert len(seen) == len(model.rows)


@given(st.lists(st.sets(st.integers(0, 9_999)), max_size=9), st.lists(scattered | st.integers(0, 9_999).map(digest)))
def test_an_index_is_adopted_as_if_its_hashes_had_been_met_one_by_one(parts: list[set[int]], more: list[bytes]) -> None:
    adopted, met = SeenCaptions(), SeenCaptions()
    known: set[int] = set()
    for numbers in parts:
        digests = [digest(number) for number in sorted(numbers - known)]
        known |= numbers
        adopted.adopt(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16))
        met.assign(digests)
    assert adopted.assign(more) == met.assign(more)
    assert len(adopted) == len(met)


def test_many_runs_against_a_dictionary() -> None:
    seen, model = SeenCaptions(), PlainModel()
    for start in range(0, 500, 7):
        batch = [digest(number % 311) for number in range(start, start + 11)]
        assert seen.assign(batch) == model.assign(batch)
    sizes = [len(run[0]) for run in seen._runs]
    assert sum(sizes) + len(seen._fresh) == len(seen) == 311
    assert len(sizes) > 3
    assert max(sizes) >= 16  # merged up to the limit
    assert max(sizes) < 64  # and not much beyond it


def test_equal_first_halves_are_told_apart() -> None:
    first_half = b"\xff" * 8
    digests = [first_half + number.to_bytes(8, "big") for number in range(40)]
    seen = SeenCaptions()
    for start in range(0, 40, 5):
        assert seen.assign(digests[start : start + 5]) == (list(range(start, start + 5)), [True] * 5)
    assert seen.assign(digests[::-1]) == (list(range(39, -1, -1)), [False] * 40)
    assert seen.assign([first_half + b"\xee" * 8]) == ([40], [True])


def test_a_hash_that_repeats_within_a_batch_is_new_once() -> None:
    assert SeenCaptions().assign([digest(1), digest(2), digest(1)]) == ([0, 1, 0], [True, True, False])


def test_nothing() -> None:
    seen = SeenCaptions()
    assert seen.assign([]) == ([], [])
    assert len(seen) == 0


def test_memory_per_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 bytes for each packed caption: a hundred million take 2 GB."""
    monkeypatch.setattr(dedup, "FRESH_LIMIT", 1_000)
    monkeypatch.setattr(dedup, "RUN_LIMIT", 100_000)
    seen = SeenCaptions()
    seen.assign([digest(number) for number in range(5_000)])
    assert sum(column.nbytes for run in seen._runs for column in run) == 20 * 5_000
    assert seen._fresh == {}

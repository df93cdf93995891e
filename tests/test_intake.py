"""The books: whatever is read is kept, a duplicate or refused, and the sum is always right."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import Builder
from hypothesis import given
from hypothesis import strategies as st

from build_index.books import EXAMPLES_PER_REASON, Counts, Refusals
from build_index.cleaning import Refusal, clean
from build_index.corpora import Source
from build_index.intake import Intake, Reading
from build_index.sources import choose_readings, damaged_before, describe
from build_index.streams import Chunk, Problem
from shards import open_index
from shards.manifest import SourceInfo, Tally
from shards.parts import text_hash


def source(path: Path, lines: list[str]) -> Source:
    path.write_text("".join(line + "\n" for line in lines), "utf-8")
    return Source(str(path), ())


# --- parts -----------------------------------------------------------------------------------------------------------


def test_parts_are_full_but_the_last_and_know_their_sources(tmp_path: Path) -> None:
    first = source(tmp_path / "a.txt", ["a", "b", "", "a", "c"])
    second = source(tmp_path / "b.txt", ["c", "d", "...", "e"])
    intake = Intake(None)
    parts = list(intake.parts([Reading(first, 0), Reading(second, 1)], 2))
    assert [part.texts for part in parts] == [["a", "b"], ["c", "d"], ["e"]]
    assert [part.sources.tolist() for part in parts] == [[0, 0], [0, 1], [1]]
    assert [part.hashes for part in parts] == [[text_hash(text) for text in part.texts] for part in parts]
    assert intake.counts.array().tolist() == [2, 1, 2, 1, 1]
    assert intake.tally() == Tally(read=9, kept=5, duplicates=2, refused={"empty": 2})
    assert intake.rows_read == {0: 5, 1: 4}
    assert intake.finished == {0, 1}
    assert intake.refusals.places == {"empty": [f"{first.uri} row 2", f"{second.uri} row 2"]}


lines = st.lists(st.sampled_from(["a", "A", "a ", "b", "", "...", "x" * 2_001, "caf\u00e9", "cafe\u0301"]), max_size=30)


@given(st.lists(lines, max_size=4), st.integers(1, 6), st.none() | st.integers(0, 40))
def test_against_a_plain_loop(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[str]], size: int, limit: int | None
) -> None:
    folder = tmp_path_factory.mktemp("intake")
    readings = [Reading(source(folder / f"{n}.txt", content), n) for n, content in enumerate(files)]
    intake = Intake(None, limit)
    parts = list(intake.parts(readings, size))

    met: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for line in [line for content in files for line in content][:limit]:
        text = clean(line)
        if isinstance(text, Refusal):
            refused[text.value] += 1
        else:
            met[text] += 1

    assert [text for part in parts for text in part.texts] == list(met)
    assert all(len(part.texts) == size for part in parts[:-1])
    assert intake.counts.array().tolist() == list(met.values())
    tally = intake.tally()
    assert tally.balanced
    assert (tally.kept, tally.duplicates) == (len(met), met.total() - len(met))
    assert Counter(tally.refused) == +refused
    assert tally.read == met.total() + refused.total()


def test_streaming_holds_one_part_and_one_chunk(tmp_path: Path) -> None:
    """The first part is there before the second file is opened."""
    readings = [Reading(source(tmp_path / "a.txt", ["a", "b"]), 0), Reading(Source(str(tmp_path / "none.txt"), ()), 1)]
    intake = Intake(None)
    parts = intake.parts(readings, 2)
    assert next(parts).texts == ["a", "b"]
    assert intake.rows_read == {0: 2}
    assert not intake.refusals
    assert list(parts) == []
    assert list(intake.refusals.places) == ["damaged"]


def test_rows_that_no_reader_can_give_are_read_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = Problem("a row group 1", 2, Refusal.DAMAGED, "bad page")
    stream = [Chunk(0, ["a", "b"]), damaged, Chunk(4, ["c", "d"])]
    monkeypatch.setattr("build_index.intake.read_source", lambda _: iter(stream))

    intake = Intake(None)
    assert [part.texts for part in intake.parts([Reading(Source("a", ()), 0)], 9)] == [["a", "b", "c", "d"]]
    assert intake.tally() == Tally(read=6, kept=4, duplicates=0, refused={"damaged": 2})
    assert intake.refusals.places == {"damaged": ["a row group 1: bad page"]}
    assert intake.finished == {0}

    going_on = Intake(None)  # after a run that its limit stopped beyond the damage
    assert [part.texts for part in going_on.parts([Reading(Source("a", ()), 0, start=5)], 9)] == [["d"]]
    assert going_on.tally() == Tally(read=1, kept=1, duplicates=0, refused={})
    assert not going_on.refusals


# --- limit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "texts", "read", "finished"),
    [
        (0, [], {}, set()),
        (1, ["a"], {0: 1}, set()),
        (3, ["a", "b", "c"], {0: 3}, {0}),
        (4, ["a", "b", "c", "d"], {0: 3, 1: 1}, {0}),
        (5, ["a", "b", "c", "d", "e"], {0: 3, 1: 2}, {0, 1}),
        (6, ["a", "b", "c", "d", "e"], {0: 3, 1: 2}, {0, 1}),
    ],
)
def test_a_limit(tmp_path: Path, limit: int, texts: list[str], read: dict[int, int], finished: set[int]) -> None:
    first, second = source(tmp_path / "a.txt", ["a", "b", "c"]), source(tmp_path / "b.txt", ["d", "e"])
    intake = Intake(None, limit)
    parts = list(intake.parts([Reading(first, 0), Reading(second, 1)], 100))
    assert [text for part in parts for text in part.texts] == texts
    assert intake.rows_read == read
    assert intake.finished == finished
    assert intake.tally().read == sum(read.values())


def test_nothing_is_opened_beyond_the_limit(tmp_path: Path) -> None:
    readings = [Reading(source(tmp_path / "a.txt", ["a", "b"]), 0), Reading(Source(str(tmp_path / "none.txt"), ()), 1)]
    intake = Intake(None, 2)
    assert [part.texts for part in intake.parts(readings, 9)] == [["a", "b"]]
    assert not intake.refusals


def test_reading_goes_on_where_a_limit_stopped_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("build_index.streams.ROWS_PER_CHUNK", 2)
    captions = source(tmp_path / "a.txt", ["a", "b", "", "c", "d", "e", "f"])
    for start in range(8):
        intake = Intake(None, 3)
        parts = list(intake.parts([Reading(captions, 0, start)], 100))
        expected = ["a", "b", "", "c", "d", "e", "f"][start : start + 3]
        assert [text for part in parts for text in part.texts] == [text for text in expected if text]
        assert intake.rows_read.total() == len(expected)
        assert intake.finished == ({0} if start >= 4 else set())


# --- an index that is there already ----------------------------------------------------------------------------------


def test_books_are_carried_on(build_index_of: Builder, tmp_path: Path) -> None:
    earlier = open_index(build_index_of(["a", "b", "a", None], rows_per_part=1).folder)
    intake = Intake(earlier)
    parts = list(intake.parts([Reading(source(tmp_path / "more.txt", ["b", "c", "", "c"]), 1)], 10))
    assert [part.texts for part in parts] == [["c"]]
    assert intake.counts.array().tolist() == [2, 2, 2]
    assert intake.tally() == Tally(read=8, kept=3, duplicates=3, refused={"empty": 1, "null": 1})
    assert earlier.counts().tolist() == [2, 1]


# --- counts and refusals ---------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 50))), st.lists(st.integers(1, 9), max_size=10))
def test_counts_against_a_counter(batches: list[list[int]], earlier: list[int]) -> None:
    counts = Counts(np.array(earlier, np.uint32))
    expected = Counter(dict(enumerate(earlier)))
    for batch in batches:
        counts.add(batch)
        expected.update(batch)
    rows = max(expected, default=-1) + 1
    assert counts.array().dtype == np.uint32
    assert counts.array().tolist() == [expected[row] for row in range(rows)]


def test_counting_leaves_the_array_it_began_with() -> None:
    before = np.ones(3, np.uint32)
    Counts(before).add([0, 0])
    assert before.tolist() == [1, 1, 1]


def test_refusals_remember_a_few_places() -> None:
    refusals = Refusals()
    assert not refusals
    assert refusals.summary() == "nothing refused"
    for row in range(1_200):
        refusals.add(Refusal.NULL, f"row {row}")
    refusals.add(Refusal.DAMAGED, "the end", rows=0)
    assert refusals
    assert refusals.summary() == "damaged: the end; 1,200 null, for example row 0"
    assert refusals.places == {"null": [f"row {row}" for row in range(EXAMPLES_PER_REASON)], "damaged": ["the end"]}


# --- which sources are new -------------------------------------------------------------------------------------------


def info(uri: str, mark: str, rows: int = 9, *, complete: bool = True) -> SourceInfo:
    return SourceInfo(uri=uri, fingerprint=mark, rows=rows, complete=complete)


A, B, C = (Source(f"memory://{name}", ()) for name in "abc")


def test_what_is_new_is_numbered_on() -> None:
    readings, notes = choose_readings([(A, "1"), (B, "2"), (C, "3")], [info(B.uri, "2")], None)
    assert readings == [Reading(A, 1), Reading(C, 2)]
    assert notes == ()


def test_the_same_content_is_read_once() -> None:
    twice = f"{B.uri} is {A.uri} byte for byte, which is read once"
    assert choose_readings([(A, "1"), (B, "1")], [], None) == ([Reading(A, 0)], (twice,))
    stopped = [info(A.uri, "1", 4, complete=False)]
    assert choose_readings([(A, "1"), (B, "1")], stopped, None) == ([Reading(A, 0, 4)], (twice,))
    assert choose_readings([(B, "1")], [info(A.uri, "1")], None) == ([], (twice,))


def test_what_several_indexes_have_read_is_taken_up_where_the_furthest_stopped() -> None:
    """Indexes that were merged may have read the same file, one of them to its end and another up to a limit."""
    whole, half, less = info(A.uri, "1"), info(A.uri, "1", 4, complete=False), info(A.uri, "1", 2, complete=False)
    for known in ([whole, half], [half, whole]):
        assert choose_readings([(A, "1")], known, None) == ([], ())
    assert choose_readings([(A, "1")], [half, less], None) == ([Reading(A, 0, 4)], ())


def test_what_changed_is_read_again_and_what_is_gone_is_noted(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.txt")
    readings, notes = choose_readings([(A, "2")], [info(A.uri, "1"), info(gone, "3")], None)
    assert readings == [Reading(A, 2)]
    assert notes == (
        "memory://a changed since it was read; captions it no longer has are kept",
        f"{gone} is gone; its captions are kept",
    )


def test_a_file_that_was_read_in_two_states_is_gone_once(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.txt")
    assert choose_readings([], [info(gone, "1"), info(gone, "2")], None)[1] == (
        f"{gone} is gone; its captions are kept",
    )


def test_nothing_may_be_read_any_more() -> None:
    readings, notes = choose_readings([(A, "1")], [], 0)
    assert readings == []
    assert notes == ("--limit is reached, so nothing is read of 1 more sources; raise it to go on",)
    assert choose_readings([(A, "1")], [info(A.uri, "1")], 0) == ([], ())


def test_what_the_manifest_says_of_sources_after_a_build(tmp_path: Path) -> None:
    a, b, c = (source(tmp_path / f"{name}.txt", [name, name * 2]) for name in "abc")
    marked = [(a, "1"), (b, "2"), (c, "3")]
    known = [info(a.uri, "1", 1, complete=False)]
    readings, _ = choose_readings(marked, known, 2)
    assert readings == [Reading(a, 0, 1), Reading(b, 1), Reading(c, 2)]
    intake = Intake(None, 2)
    list(intake.parts(readings, 10))
    assert describe(marked, known, readings, intake) == [
        info(a.uri, "1", 2),
        info(b.uri, "2", 1, complete=False),  # and c was not reached
    ]


def test_a_connection_that_broke_is_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file on this machine that is damaged stays so; one on another may be whole the next time."""
    broken = [Chunk(0, ["a", "b"]), Problem("memory://a after row 2", 0, Refusal.DAMAGED, "connection reset")]
    whole = [Chunk(0, ["a", "b", "c"])]

    def run(stream: list[Chunk | Problem], start: int) -> tuple[list[str], set[int], dict[str, list[str]]]:
        monkeypatch.setattr("build_index.intake.read_source", lambda _: iter(stream))
        intake = Intake(None)
        texts = [text for part in intake.parts([Reading(A, 0, start)], 10) for text in part.texts]
        return texts, intake.finished, intake.refusals.places

    assert run(broken, 0) == (["a", "b"], set(), {"damaged": ["memory://a after row 2: connection reset"]})
    assert run(whole, 2) == (["c"], {0}, {})


def test_a_connection_that_broke_before_the_first_row_keeps_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The captions of the sources behind it say that they are of the second; so the first must be listed."""
    lost = Problem("memory://a after row 0", 0, Refusal.DAMAGED, "connection reset")
    streams: dict[str, list[Chunk | Problem]] = {A.uri: [lost], B.uri: [Chunk(0, ["a", "b"])]}
    monkeypatch.setattr("build_index.intake.read_source", lambda source: iter(streams[source.uri]))
    readings, _ = choose_readings([(A, "1"), (B, "2")], [], None)
    intake = Intake(None)
    (part,) = intake.parts(readings, 10)
    assert part.sources.tolist() == [1, 1]
    described = describe([(A, "1"), (B, "2")], [], readings, intake)
    assert [(each.uri, each.rows, each.complete) for each in described] == [(A.uri, 0, False), (B.uri, 2, True)]


def test_a_connection_that_broke_once_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken up again and read to its end would be named by every run from then on."""
    lost = Problem("memory://a after row 2", 0, Refusal.DAMAGED, "connection reset")
    broken: list[Chunk | Problem] = [Chunk(0, ["a", "b"]), lost]
    whole: list[Chunk | Problem] = [Chunk(0, ["a", "b", "c"])]

    def run(stream: list[Chunk | Problem], known: list[SourceInfo]) -> list[SourceInfo]:
        monkeypatch.setattr("build_index.intake.read_source", lambda _: iter(stream))
        readings, _ = choose_readings([(A, "1")], known, None)
        intake = Intake(None)
        list(intake.parts(readings, 10))
        return describe([(A, "1")], known, readings, intake)

    stopped = run(broken, [])
    assert stopped == [info(A.uri, "1", 2, complete=False)]
    finished = run(whole, stopped)
    assert finished == [info(A.uri, "1", 3)]
    assert damaged_before([(A, "1")], finished) == []


def test_a_connection_that_breaks_sooner_than_the_first_time_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Problem("memory://a after row 2", 0, Refusal.DAMAGED, "connection reset")
    stream: list[Chunk | Problem] = [Chunk(0, ["a", "b"]), lost]
    monkeypatch.setattr("build_index.intake.read_source", lambda _: iter(stream))
    intake = Intake(None)
    assert list(intake.parts([Reading(A, 0, 3)], 10)) == []
    assert intake.finished == set()
    assert intake.refusals.broken == ["memory://a after row 2: connection reset"]


def test_what_is_damaged_behind_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Problem("a row group 1", 100, Refusal.DAMAGED, "no page")
    stream: list[Chunk | Problem] = [Chunk(0, ["a", "b"]), lost, Chunk(102, ["c"])]
    monkeypatch.setattr("build_index.intake.read_source", lambda _: iter(stream))

    def run(limit: int, start: int) -> tuple[int, set[int], set[int]]:
        intake = Intake(None, limit)
        list(intake.parts([Reading(A, 0, start)], 10))
        assert intake.tally().balanced
        return intake.tally().read, intake.finished, intake.damaged

    assert run(2, 0) == (2, set(), set())
    assert run(101, 2) == (101, {0}, {0})

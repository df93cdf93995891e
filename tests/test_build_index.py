"""The whole build on the letter-counting fake: values, search, appends, the command."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Builder, LetterCounter, contents, letters, write_captions
from msgspec.structs import replace

from build_index import __main__ as command
from build_index import concept_stage, encoding, pipeline, search
from build_index.config import CONCEPT_PROMPTS, BuildConfig
from build_index.errors import CorpusError
from build_index.faiss_index import Searcher
from build_index.pipeline import BuildReport, build
from shards import NoIndex, ShardDamaged, open_index, verify
from shards.manifest import Tally

CAPTIONS = [
    "a dog on the beach",
    "two cats asleep",
    "a dog on the beach",
    "the leaning tower of pisa",
    "  a  dog on the beach ",
    "harbour at night",
    "a red bus in the rain",
    "two cats asleep",
    "snow on a mountain",
    "an old map",
]
DIFFERENT = list(dict.fromkeys(" ".join(caption.split()) for caption in CAPTIONS))
NEW = ["a windmill by a canal", "three boats"]


def embedded(encoder: LetterCounter, captions: list[str] = DIFFERENT + NEW) -> list[str]:
    """The captions that an encoder was asked for, in order."""
    return [text for text in encoder.seen if text in captions]


def no_encoder(_: BuildConfig) -> LetterCounter:
    raise AssertionError("nothing is new, so no encoder is needed")


# --- one build -------------------------------------------------------------------------------------------------------


def test_vectors_are_the_encoders_in_float16(build_index_of: Builder) -> None:
    encoder = LetterCounter()
    report = build_index_of(CAPTIONS, encoder=encoder, rows_per_part=3)
    index = open_index(report.folder)
    assert index.captions(range(7)) == DIFFERENT
    expected = LetterCounter().encode(DIFFERENT).astype(np.float16)
    np.testing.assert_array_equal(np.concatenate([index.part_vectors(part) for part in range(3)]), expected)
    by_hand = letters(t=2, h=1, r=1, e=2, b=1, o=1, a=1, s=1, rest=1)  # three boats
    np.testing.assert_allclose(LetterCounter().encode(["three boats"])[0], by_hand, rtol=1e-6)
    assert embedded(encoder) == DIFFERENT


def test_duplicates_raise_the_count_of_the_first(build_index_of: Builder, tmp_path: Path) -> None:
    report = build_index_of([*CAPTIONS, None, ""], rows_per_part=3)
    assert open_index(report.folder).counts().tolist() == [3, 2, 1, 1, 1, 1, 1]
    assert report.manifest.tally == Tally(read=12, kept=7, duplicates=3, refused={"empty": 1, "null": 1})
    assert report.embedded == 7
    corpus = tmp_path / "captions/corpus.parquet"
    assert report.refusals.summary() == f"1 empty, for example {corpus} row 11; 1 null, for example {corpus} row 10"


def test_the_manifest_says_what_was_built(build_index_of: Builder, tmp_path: Path) -> None:
    content = build_index_of(CAPTIONS, name="mine", rows_per_part=3).manifest
    assert (content.name, content.generation, content.rows) == ("mine", 1, 7)
    assert content.encoder == replace(LetterCounter().identity, concept_prompts=list(CONCEPT_PROMPTS))
    (source,) = content.sources
    assert (source.uri, source.rows, source.complete) == (str(tmp_path / "captions" / "mine.parquet"), 10, True)
    assert content == open_index(tmp_path / "shards" / "mine").manifest
    assert list(verify(tmp_path / "shards" / "mine")) == []


def test_an_encoder_is_given_bounded_batches(build_index_of: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CAPTIONS_PER_CALL", 2)
    encoder = LetterCounter()
    report = build_index_of(CAPTIONS, encoder=encoder, rows_per_part=5)
    assert [len(call) for call in encoder.calls if call[0] in CAPTIONS] == [2, 2, 1, 2]
    assert max(map(len, encoder.calls)) == len(CONCEPT_PROMPTS)  # one concept at a time, but with all its prompts
    np.testing.assert_array_equal(
        open_index(report.folder).vectors(range(7)), LetterCounter().encode(DIFFERENT).astype(np.float16)
    )


@pytest.mark.parametrize("bound", [2, 4, 9])
def test_the_size_of_batches_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: int) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    prompts = ("{}", "the {}")
    whole = build(config_for(tmp_path / "whole", corpus, concept_prompts=prompts), lambda _: LetterCounter())
    monkeypatch.setattr(encoding, "CAPTIONS_PER_CALL", bound)
    encoder = LetterCounter()
    report = build(config_for(tmp_path, corpus, concept_prompts=prompts), lambda _: encoder)
    assert max(map(len, encoder.calls)) <= bound
    assert contents(report.folder) == contents(whole.folder)


def test_concepts_are_written_in_parts_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    more = write_captions(tmp_path / "b.parquet", NEW)
    whole = open_index(build(config_for(tmp_path / "whole", corpus), lambda _: LetterCounter()).folder).concepts
    monkeypatch.setattr(concept_stage, "CONCEPTS_PER_PART", 4)
    report = build(config_for(tmp_path, corpus), lambda _: LetterCounter())
    info = report.manifest.concepts
    assert info.rows == len(whole) > 8
    assert [part.rows for part in info.parts[:-1]] == [4] * (len(info.parts) - 1)
    concepts = open_index(report.folder).concepts
    ids = range(len(whole))
    assert concepts.words(ids) == whole.words(ids)
    np.testing.assert_array_equal(concepts.vectors(ids), whole.vectors(ids))
    assert list(verify(report.folder)) == []

    appended = build(config_for(tmp_path, corpus, more), lambda _: LetterCounter())
    assert appended.manifest.concepts.parts[: len(info.parts)] == info.parts
    assert open_index(report.folder).concepts.words(ids) == whole.words(ids)
    assert list(verify(report.folder)) == []


def test_captions_without_concepts(build_index_of: Builder) -> None:
    """No words, no parts of them, and links of length 0: still a sound index."""
    report = build_index_of(["of the and", "with"], rows_per_part=1)
    concepts = open_index(report.folder).concepts
    assert len(concepts) == report.manifest.concepts.rows == 0
    assert report.manifest.concepts.parts == []
    assert [concepts.of_row(row).tolist() for row in (0, 1)] == [[], []]
    assert concepts.vectors([]).shape == (0, 27)
    assert list(verify(report.folder)) == []


def test_no_captions_make_no_index(build_index_of: Builder, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="corpus: not one caption could be used"):
        build_index_of([None, "", "..."])
    with pytest.raises(NoIndex):
        open_index(tmp_path / "shards" / "corpus")


def test_a_vector_that_is_not_finite_is_never_written(build_index_of: Builder, tmp_path: Path) -> None:
    class Broken(LetterCounter):
        def encode(self, captions: Any, report: Any = None) -> Any:
            return super().encode(captions) * np.nan

    with pytest.raises(ValueError, match="not finite"):
        build_index_of(CAPTIONS, encoder=Broken())
    assert not list((tmp_path / "shards" / "corpus").glob("vectors-*"))


# --- search ----------------------------------------------------------------------------------------------------------


def by_brute_force(vectors: Any, query: Any, k: int) -> tuple[list[int], Any]:
    """The k nearest rows, equal cosines by row."""
    cosines = np.array([float(np.dot(vector.astype(np.float32), query)) for vector in vectors])
    rows = sorted(range(len(vectors)), key=lambda row: (-round(cosines[row], 6), row))[:k]
    return rows, cosines[rows]


@pytest.mark.parametrize("k", [1, 3, 10, 300, 1_000])
def test_ids_are_rows_and_scores_are_cosines(build_index_of: Builder, k: int) -> None:
    rng = np.random.default_rng(0)
    words = ["dog", "god", "cat", "act", "bus", "sub", "tower", "wrote", "boat", "rain"]  # many have equal vectors
    captions = sorted({" ".join(rng.choice(words, size=3)) for _ in range(400)})
    index = open_index(build_index_of(captions, rows_per_part=100).folder)
    queries = LetterCounter().encode(["a dog", "act now", "towers", "xyz"])
    stored = LetterCounter().encode(captions).astype(np.float16)
    scores, rows = Searcher(index).search(queries, k)
    assert rows.shape == scores.shape == (4, min(k, len(captions)))
    for query, found, cosines in zip(queries, rows, scores, strict=True):
        expected, expected_cosines = by_brute_force(stored, query, k)
        np.testing.assert_allclose(cosines, expected_cosines, atol=1e-6)
        assert found.tolist() == expected
        np.testing.assert_allclose(index.vectors(found) @ query, cosines, atol=1e-6)


def test_a_query_finds_the_same_whatever_is_searched_beside_it(build_index_of: Builder) -> None:
    index = open_index(build_index_of([f"{word} {n}" for n in range(50) for word in DIFFERENT]).folder)
    queries = LetterCounter().encode([*DIFFERENT, *NEW])
    together = Searcher(index).search(queries, 5)
    for place in range(len(queries)):
        alone = Searcher(index).search(queries[place : place + 1], 5)
        np.testing.assert_array_equal(alone[0][0], together[0][place])
        np.testing.assert_array_equal(alone[1][0], together[1][place])


def test_a_search_index_that_is_damaged_or_of_another_index(build_index_of: Builder) -> None:
    index = open_index(build_index_of(CAPTIONS).folder)
    path = index.faiss_path
    sound = path.read_bytes()
    path.write_bytes(b"\0" * len(sound))
    with pytest.raises(ShardDamaged, match=f"{path}: not readable as a FAISS index"):
        Searcher(open_index(index.folder))
    other = open_index(build_index_of(CAPTIONS[:4], name="other").folder)
    path.write_bytes(other.faiss_path.read_bytes().ljust(len(sound), b"\0"))
    with pytest.raises(ShardDamaged, match=r"3 vectors of 27 dimensions, the manifest says 7 of 27"):
        Searcher(open_index(index.folder))


# --- again -----------------------------------------------------------------------------------------------------------


def config_for(tmp_path: Path, *corpus: Path, **options: Any) -> BuildConfig:
    return BuildConfig(
        corpus=tuple(str(path) for path in corpus), name="corpus", out=tmp_path / "shards", rows_per_part=3, **options
    )


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    config = config_for(tmp_path, write_captions(tmp_path / "a.parquet", CAPTIONS))
    first = build(config, lambda _: LetterCounter())
    before = contents(first.folder)
    second = build(config, no_encoder)
    assert contents(first.folder) == before
    assert second == BuildReport(first.folder, first.manifest, refusals=second.refusals)
    assert not second.refusals
    assert (second.embedded, second.concepts_embedded, second.notes) == (0, 0, ())


def test_an_append_embeds_what_is_unseen_and_leaves_finished_parts(tmp_path: Path) -> None:
    old = write_captions(tmp_path / "captions" / "a.parquet", CAPTIONS)
    first = build(config_for(tmp_path, old.parent), lambda _: LetterCounter())
    before = contents(first.folder)
    write_captions(tmp_path / "captions" / "b.parquet", [CAPTIONS[0], *NEW, NEW[0], None])

    encoder = LetterCounter()
    report = build(config_for(tmp_path, old.parent), lambda _: encoder)
    assert embedded(encoder) == NEW
    assert report.embedded == 2
    after = contents(report.folder)
    for file in (file for part in first.manifest.parts for file in (part.captions, part.vectors)):
        assert after[file.name] == before[file.name]
    assert report.manifest.parts[:3] == first.manifest.parts
    assert [(part.first_row, part.rows) for part in report.manifest.parts[3:]] == [(7, 2)]
    assert report.manifest.generation == 2
    assert not [name for name in after if ".0001." in name]  # the earlier generation is gone

    index = open_index(report.folder)
    assert index.captions(range(9)) == DIFFERENT + NEW
    assert index.counts().tolist() == [4, 2, 1, 1, 1, 1, 1, 2, 1]
    assert index.manifest.tally == Tally(read=15, kept=9, duplicates=5, refused={"null": 1})
    assert Searcher(index).search(LetterCounter().encode([NEW[1]]), 1)[1].tolist() == [[8]]
    assert list(verify(report.folder)) == []


def test_an_append_to_no_index_leaves_no_folder(tmp_path: Path) -> None:
    path = write_captions(tmp_path / "a.parquet", CAPTIONS)
    with pytest.raises(CorpusError, match=f"there is no index at {tmp_path / 'shards/corpus'} to add to"):
        build(BuildConfig(append=(str(path),), name="corpus", out=tmp_path / "shards"), no_encoder)
    assert [each.name for each in tmp_path.iterdir()] == ["a.parquet"]


def test_an_append_of_duplicates_alone_raises_counts(tmp_path: Path) -> None:
    first = write_captions(tmp_path / "a.parquet", CAPTIONS)
    build(config_for(tmp_path, first), lambda _: LetterCounter())
    second = write_captions(tmp_path / "b.parquet", CAPTIONS[1:3])
    report = build(config_for(tmp_path, first, second), lambda _: LetterCounter())
    assert report.embedded == 0
    assert len(report.manifest.parts) == 3
    assert open_index(report.folder).counts().tolist() == [4, 3, 1, 1, 1, 1, 1]
    assert list(verify(report.folder)) == []


def test_a_source_that_changed_and_one_that_vanished(tmp_path: Path) -> None:
    a, b = write_captions(tmp_path / "a.parquet", CAPTIONS), write_captions(tmp_path / "b.parquet", NEW[:1])
    build(config_for(tmp_path, a, b), lambda _: LetterCounter())
    write_captions(a, [*CAPTIONS[3:], NEW[1]])
    b.unlink()
    report = build(config_for(tmp_path, a), lambda _: LetterCounter())
    assert report.notes == (
        f"{a} changed since it was read; captions it no longer has are kept",
        f"{b} is gone; its captions are kept",
    )
    assert open_index(report.folder).captions(range(9)) == [*DIFFERENT, *NEW]
    assert [source.uri for source in report.manifest.sources] == [str(a), str(b), str(a)]
    assert build(config_for(tmp_path, a), no_encoder).notes == (f"{b} is gone; its captions are kept",)


def test_a_limit_is_continued_by_a_larger_one(tmp_path: Path) -> None:
    a = write_captions(tmp_path / "a.parquet", CAPTIONS[:6])
    b = write_captions(tmp_path / "b.parquet", [*CAPTIONS[6:], None, *NEW])
    whole = build(config_for(tmp_path / "whole", a, b), lambda _: LetterCounter())
    rows = []
    for limit in (1, 4, 6, 8, 8, 0):
        report = build(config_for(tmp_path, a, b, limit=limit), lambda _: LetterCounter())
        rows.append((report.manifest.tally.read, report.manifest.rows, report.embedded))
    assert rows == [(1, 1, 1), (4, 3, 2), (6, 4, 1), (8, 5, 1), (8, 5, 0), (13, 9, 4)]
    index = open_index(report.folder)
    assert index.captions(range(9)) == open_index(whole.folder).captions(range(9))
    assert index.counts().tolist() == open_index(whole.folder).counts().tolist()
    assert index.manifest.tally == whole.manifest.tally
    assert index.manifest.sources == whole.manifest.sources
    assert list(verify(report.folder)) == []


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """`python -m build_index` with the fake in place of CLIP."""
    monkeypatch.setattr(pipeline, "load_encoder_of", lambda *_: LetterCounter())
    return lambda *arguments: command.main(["--out", str(tmp_path / "shards"), *map(str, arguments)])


def test_exit_codes(run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_captions(tmp_path / "good.parquet", CAPTIONS)
    assert run("--corpus", good) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'shards' / 'good'}: 7 captions, 7 embedded now; " in said
    assert "search index flat, recall@7 1.000 measured" in said
    assert "read 10 = kept 7 + duplicates 3 + refused 0" in said
    assert run("--corpus", good) == 0
    assert "nothing new; 7 captions as before" in capsys.readouterr().out

    some = write_captions(tmp_path / "some.parquet", [*CAPTIONS, None, "", ""])
    assert run("--corpus", some) == 1
    said = capsys.readouterr().out
    assert f"refused 2 rows, empty, for example: {some} row 11" in said
    assert f"refused 1 rows, null, for example: {some} row 10" in said

    assert run("--corpus", tmp_path / "none.parquet") == 2
    assert capsys.readouterr().err.startswith(f"error: --corpus {tmp_path / 'none.parquet'}: no such file")

    (tmp_path / "shards" / "file").touch()
    assert run("--corpus", good, "--name", "file") == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'shards' / 'file'}: no folder can be made")
    assert run("--corpus", good, "--out", tmp_path / "shards" / "file") == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'shards' / 'file' / 'good'}: no folder can be made")


def test_a_damaged_source_is_reported_and_the_others_are_built(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_captions(tmp_path / "good.parquet", CAPTIONS)
    bad = [tmp_path / "bad.parquet", tmp_path / "worse.parquet"]
    for number, path in enumerate(bad):
        path.write_bytes(good.read_bytes()[: -20 - number])
    assert run("--corpus", *bad, good, "--name", "both") == 1
    said = capsys.readouterr().out
    assert all(f"cannot be read: {path} after row 0: " in said for path in bad)
    assert "rows, damaged" not in said, "nobody knows how many"
    index = open_index(tmp_path / "shards" / "both")
    assert index.manifest.rows == 7
    assert [source.damaged for source in index.manifest.sources] == [True, True, False]


def test_a_damaged_source_is_named_until_a_sound_one_is_in_its_place(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, more = tmp_path / "bad.parquet", write_captions(tmp_path / "more.parquet", ["a zebra", "a yak"])
    whole = write_captions(bad, CAPTIONS).read_bytes()
    bad.write_bytes(whole[:-20])
    assert run("--corpus", write_captions(tmp_path / "good.parquet", ["an ox"]), bad, "--name", "one") == 1
    capsys.readouterr()
    named = f"  cannot be read: {bad}: damaged as before, and read as far as that goes"

    assert run("--corpus", bad, "--name", "one") == 1
    said = capsys.readouterr().out
    assert "nothing new" in said
    assert named in said
    assert run("--corpus", bad, more, "--name", "one") == 1, "also where there is something new besides"
    assert named in capsys.readouterr().out
    assert run("--corpus", more, "--name", "one") == 0, "nobody asked for the other one"

    bad.write_bytes(whole)
    assert run("--corpus", bad, "--name", "one") == 0
    assert run("--corpus", bad, "--name", "one") == 0
    index = open_index(tmp_path / "shards" / "one")
    assert index.manifest.rows == 7 + 3


def test_an_interrupt(run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> LetterCounter:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "load_encoder_of", interrupt)
    assert run("--corpus", write_captions(tmp_path / "a.parquet", CAPTIONS)) == 130


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_is_full_or_closed(
    run: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)

    def refuse(path: Path, data: bytes) -> int:
        raise OSError(number, "no more", str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        assert run("--corpus", corpus) == 2
    said = capsys.readouterr().err
    assert f"error: {tmp_path / 'shards' / 'a' / 'plan.json.partial'}: no more; " in said
    assert said.endswith((", then run the same command again\n", ", or change its permissions\n"))
    assert run("--corpus", corpus) == 0


def test_search_prints_the_nearest_of_all_indexes(
    build_index_of: Builder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build_index_of(CAPTIONS, name="first")
    folder = build_index_of([*NEW, "boats three"], name="second").folder
    monkeypatch.setitem(
        sys.modules, "encoders.clip_text", SimpleNamespace(clip_text_of=lambda identity, *_: LetterCounter())
    )
    assert search.main([str(folder.parent), "three boats", "--k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1:] for line in lines] == [["second:1", "three boats"], ["second:2", "boats three"]]
    assert [float(line.split()[0]) for line in lines] == pytest.approx([1.0, 1.0], abs=5e-4)
    assert search.main([str(folder.parent / "none"), "x"]) == 2

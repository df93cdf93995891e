"""Indexes that were built side by side made into one: as one build of all their sources would have been."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from conftest import Crash, LetterCounter, write_captions
from test_builder_extras import CAPTIONS, build_with, flip, said_words

from build_index import pipeline
from build_index.__main__ import main
from build_index.compact import compact
from build_index.config import BuildConfig
from build_index.merging import merge
from build_index.pipeline import BuildReport
from build_index.rewriting import rewrite_parts
from encoders.presets import PresetName
from shards import EncoderMismatch, Index, NoIndex, PlanConflict, ShardDamaged, ShardError, open_index, verify
from shards.removal import remove

SHARES = [CAPTIONS[:4], ["a windmill", *CAPTIONS[2:5]], [*CAPTIONS[4:], "a windmill", "a windmill", "a red kite"]]
"""Captions of three files, some in two of them."""


def share(tmp_path: Path, number: int, **settings: Any) -> BuildReport:
    """The index of one file."""
    path = write_captions(tmp_path / f"{number}.parquet", SHARES[number])
    options = {"name": f"share-{number}", "rows_per_part": 2, "out": tmp_path / "shards", **settings}
    return build_with(tmp_path, corpus=(str(path),), **options)


def merged(tmp_path: Path, encoder: LetterCounter | None = None, **settings: Any) -> BuildReport:
    """The shares below `shards` as one."""
    options = {"merge": (tmp_path / "shards",), "name": "all", "out": tmp_path / "whole", "workers": 1, **settings}

    def load() -> LetterCounter:
        assert encoder is not None, "nothing is to be embedded"
        return encoder

    return merge(BuildConfig(**options), load)


def at_once(tmp_path: Path, **settings: Any) -> Index:
    """The index of all files in one build."""
    paths = tuple(str(write_captions(tmp_path / f"{number}.parquet", SHARES[number])) for number in range(3))
    return open_index(build_with(tmp_path, corpus=paths, name="once", out=tmp_path / "once", **settings).folder)


def test_as_one_build_of_all_sources(tmp_path: Path) -> None:
    for number in range(3):
        share(tmp_path, number)
    report = merged(tmp_path)
    ours, theirs = open_index(report.folder), at_once(tmp_path)
    assert (report.merged, report.embedded, report.concepts_embedded) == (3, 0, 0)
    assert list(verify(report.folder)) == []
    rows = range(theirs.manifest.rows)
    assert ours.captions(rows) == theirs.captions(rows)
    np.testing.assert_array_equal(ours.vectors(rows), theirs.vectors(rows))
    np.testing.assert_array_equal(ours.counts(), theirs.counts())
    assert said_words(ours.folder) == said_words(theirs.folder)
    for table in ("starts", "links"):
        assert (ours.folder / f"{table}.0001.npy").read_bytes() == (theirs.folder / f"{table}.0001.npy").read_bytes()
    for part in ("concepts-00000.parquet", "concept-vectors-00000.npy", "captions.0001.faiss"):
        assert (ours.folder / part).read_bytes() == (theirs.folder / part).read_bytes()
    for field in ("rows", "preset", "encoder", "sources", "tally", "counts", "removed"):
        assert getattr(ours.manifest, field) == getattr(theirs.manifest, field), field
    assert sources_of(ours) == sources_of(theirs)


def sources_of(index: Index) -> list[int]:
    """The number of the source that each caption came from."""
    parts = range(len(index.manifest.parts))
    return [number for part in parts for number in index.part_table(part, ["source"])["source"].to_pylist()]


def test_what_was_removed_stays_out_unless_another_has_it(tmp_path: Path) -> None:
    first, second = share(tmp_path, 0), share(tmp_path, 1)
    remove(first.folder, None, "pisa|retriever")
    remove(second.folder, None, "windmill")
    index = open_index(merged(tmp_path).folder)
    assert index.captions(range(index.manifest.rows)) == [CAPTIONS[row] for row in (3, 2, 4)]
    assert index.counts().tolist() == [2, 1, 1]
    assert index.manifest.tally.refused == {"removed": 4}
    assert not index.removed.size
    assert "leaning tower of pisa" in said_words(index.folder)
    assert "windmill" not in said_words(index.folder)


def test_nothing_is_made_of_indexes_of_which_every_caption_was_removed(tmp_path: Path) -> None:
    folders = [share(tmp_path, number).folder for number in range(3)]
    for folder in folders[:2]:
        remove(folder, None, ".")
    with pytest.raises(NoIndex, match=r"every caption of .*share-0, .*share-1 was removed; nothing is left to merge"):
        merged(tmp_path, merge=tuple(folders[:2]))
    assert not (tmp_path / "whole").exists()
    report = merged(tmp_path, merge=tuple(folders))
    assert open_index(report.folder).manifest.rows == open_index(folders[2]).manifest.rows
    assert list(verify(report.folder)) == []


def test_words_that_are_frequent_only_together_are_embedded(tmp_path: Path) -> None:
    """And no other text. Each share says "windmill" in a caption of its own."""
    for number, captions in enumerate((["a windmill", "a bus", "the bus"], ["the windmill", "a bus at night"])):
        path = write_captions(tmp_path / f"{number}.csv.parquet", captions)
        build_with(tmp_path, corpus=(str(path),), name=f"share-{number}", least_captions=2)
    encoder = LetterCounter()
    report = merged(tmp_path, encoder, least_captions=2)
    assert said_words(report.folder) == {"bus": ("noun", 3), "windmill": ("noun", 2)}
    assert encoder.seen == ["windmill", "a photo of a windmill."]
    assert report.concepts_embedded == 1


def test_it_can_be_appended_to(tmp_path: Path) -> None:
    share(tmp_path, 0)
    share(tmp_path, 1)
    folder = merged(tmp_path).folder
    before = open_index(folder)
    path = write_captions(tmp_path / "more.parquet", ["a windmill", "a zebra"])
    report = build_with(tmp_path, append=(str(path),), name="all", out=tmp_path / "whole")
    after = open_index(folder)
    assert report.embedded == 1
    assert after.captions(range(after.manifest.rows)) == [*before.captions(range(before.manifest.rows)), "a zebra"]
    assert after.counts()[before.captions(range(before.manifest.rows)).index("a windmill")] == 2
    again = build_with(tmp_path, corpus=(str(tmp_path / "0.parquet"),), name="all", out=tmp_path / "whole")
    assert again.embedded == 0
    assert again.manifest == report.manifest


def test_a_merge_that_was_killed_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share(tmp_path, 0)
    share(tmp_path, 1)
    whole = tmp_path / "whole" / "all"
    with monkeypatch.context() as patch:
        patch.setattr("build_index.merging.write_concepts", crash)
        with pytest.raises(Crash):
            merged(tmp_path)
    assert (whole / "captions-00000.parquet").exists()
    with pytest.raises(NoIndex, match="an unfinished build"):
        open_index(whole)
    with pytest.raises(PlanConflict, match="an unfinished build"):  # which another build must not take up
        build_with(tmp_path, corpus=(str(tmp_path / "0.parquet"),), name="all", out=tmp_path / "whole")
    merged(tmp_path)
    assert list(verify(whole)) == []
    assert not (whole / "plan.json").exists()


def test_a_merge_that_was_killed_before_its_export_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share(tmp_path, 0)
    remove(share(tmp_path, 1).folder, None, "windmill")
    into = tmp_path / "shards"  # beside those that it is made of, of which it is none
    with monkeypatch.context() as patch:
        patch.setattr("build_index.pipeline.export_cased", crash)
        with pytest.raises(Crash):
            merged(tmp_path, out=into, export="cased")
    whole = open_index(into / "all")
    assert not (whole.folder / "cased").exists()
    report = merged(tmp_path, out=into, export="cased")
    assert (report.manifest, report.merged) == (whole.manifest, 0)
    assert faiss.read_index(str(whole.folder / "cased" / "text.index")).ntotal == whole.manifest.rows
    assert merged(tmp_path, out=into).manifest == whole.manifest
    share(tmp_path, 2)
    with pytest.raises(ShardError, match="shards/all: an index is here already; give another --name"):
        merged(tmp_path, out=into)


def append_to(folder: Path) -> None:
    more = write_captions(folder.parents[1] / "more.parquet", ["a zebra"])
    build_with(folder.parents[1], append=(str(more),), name=folder.name)


def remove_from(folder: Path) -> None:
    remove(folder, None, "pisa")


@pytest.mark.parametrize("change", [append_to, remove_from, compact])
def test_an_index_that_is_changed_meanwhile_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    share(tmp_path, 0)
    folder = share(tmp_path, 1).folder
    remove(folder, None, "windmill")

    def changed_first(*arguments: Any) -> Any:
        change(folder)
        return rewrite_parts(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("build_index.merging.rewrite_parts", changed_first)
        with pytest.raises(ShardError, match=f"^{folder}: changed while it was merged; run the same command again"):
            merged(tmp_path)
    both = merged(tmp_path).manifest  # of what is there by now
    assert both.tally.read == sum(open_index(folder.parent / f"share-{n}").manifest.tally.read for n in range(2))


@pytest.mark.parametrize("name", ["vectors-00000.npy", "concept-vectors-00000.npy", "counts.0001.npy"])
def test_damage_is_not_made_sound_by_merging(tmp_path: Path, name: str) -> None:
    share(tmp_path, 0)
    path = share(tmp_path, 1).folder / name
    flip(path)
    with pytest.raises(ShardDamaged, match=f"^{path}: SHA-256"):
        merged(tmp_path)
    flip(path)
    assert list(verify(merged(tmp_path).folder)) == []


def crash(*_: object) -> None:
    raise Crash


def test_what_does_not_go_together(tmp_path: Path) -> None:
    first = share(tmp_path, 0).folder
    with pytest.raises(ShardError, match="one index, where several were expected"):
        merged(tmp_path, merge=(first, first))
    other = share(tmp_path, 1).folder
    with pytest.raises(ShardError, match="shards/share-0: an index is here already; give another --name"):
        merged(tmp_path, merge=(first, other), name="share-0", out=tmp_path / "shards")
    share(tmp_path, 1, concept_prompts=("{}",), append=(str(write_captions(tmp_path / "more.parquet", ["a kite"])),))
    with pytest.raises(ShardError, match=r"share-1: its words were put as \{\}, those of .*share-0 as \{\}, a photo"):
        merged(tmp_path)
    share(tmp_path, 2, name="share-00", encoder=LetterCounter("others"))
    with pytest.raises(EncoderMismatch, match=r"share-0 holds vectors of .*; this encoder is LetterCounter/others"):
        merged(tmp_path)
    with pytest.raises(NoIndex, match="nowhere: no such folder"):
        merged(tmp_path, merge=(first, tmp_path / "nowhere"))
    assert not (tmp_path / "whole").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"corpus": ("demo",), "preset": PresetName.POCKET},
            "--merge goes without --corpus, --preset; captions can be appended",
        ),
        (
            {"caption_column": "text", "data_dir": Path("d")},
            "--merge goes without --caption-column, --data-dir;",
        ),
        ({"name": ""}, "--merge: give the new index a --name"),
    ],
)
def test_a_merge_stands_alone(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        BuildConfig(**{"merge": (Path("a"), Path("b")), "name": "c", **options})


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    share(tmp_path, 0)
    share(tmp_path, 1)
    monkeypatch.setattr(pipeline, "load_encoder_of", lambda *_: LetterCounter())
    monkeypatch.chdir(tmp_path)
    assert main(["--merge", "shards/share-0", "shards/share-1", "--name", "all"]) == 0
    assert "shards/all: 6 captions of 2 indexes, 0 embedded now" in capsys.readouterr().out
    assert main(["--merge", "shards", "--name", "all"]) == 0
    assert "shards/all: nothing new; 6 captions as before" in capsys.readouterr().out
    share(tmp_path, 2)
    assert main(["--merge", "shards", "--name", "all"]) == 2
    assert "shards/all: an index is here already" in capsys.readouterr().err

"""Compacting: nothing is embedded, damage stays damage, and killed at any moment nothing is lost or comes back."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from conftest import contents, write_captions
from test_builder_extras import CAPTIONS, build_with, flip, removed

from build_index import rewriting
from build_index.compact import compact
from shards import IndexBusy, NoIndex, ShardDamaged, ShardError, open_index, open_indexes, verify
from shards.leftovers import before_of
from shards.removal import remove


def test_compacting_embeds_nothing_and_numbers_anew(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),), rows_per_part=2).folder
    before = open_index(folder)
    kept = before.vectors([3, 4, 5])
    ids = range(before.manifest.concepts.rows)
    words = dict(zip(before.concepts.words(ids), before.concepts.vectors(ids), strict=True))
    removed(folder, pattern="retriever|pisa")
    assert compact(folder) == (6, 3)
    after = open_index(folder)
    assert after.captions(range(3)) == CAPTIONS[3:]
    np.testing.assert_array_equal(after.vectors(range(3)), kept)
    for number, word in enumerate(after.concepts.words(range(after.manifest.concepts.rows))):
        np.testing.assert_array_equal(after.concepts.vectors([number])[0], words[word])
    assert after.manifest.tally.refused == {"removed": 3}
    assert not after.removed.size
    assert list(verify(folder)) == []
    assert [path.name for path in folder.parent.iterdir()] == ["corpus"]


def test_compacting_gathers_the_parts_of_many_small_appends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "ROWS_TOGETHER", 4)
    folder = build_with(tmp_path, corpus=(str(write_captions(tmp_path / "0.parquet", CAPTIONS[:1])),)).folder
    for number, caption in enumerate(CAPTIONS[1:], start=1):
        build_with(tmp_path, append=(str(write_captions(tmp_path / f"{number}.parquet", [caption])),))
    before = open_index(folder)
    assert [part.rows for part in before.manifest.parts] == [1] * 6
    rows = range(6)
    vectors, captions = before.vectors(rows), before.captions(rows)
    assert compact(folder) == (6, 6)
    after = open_index(folder)
    assert [(part.first_row, part.rows) for part in after.manifest.parts] == [(0, 4), (4, 2)]
    assert after.captions(rows) == captions
    np.testing.assert_array_equal(after.vectors(rows), vectors)
    assert after.manifest.sources == before.manifest.sources
    assert after.manifest.tally == before.manifest.tally
    assert list(verify(folder)) == []
    manifest = (folder / "manifest.json").read_bytes()
    assert compact(folder) == (6, 6)
    assert (folder / "manifest.json").read_bytes() == manifest  # nothing is left to gather


def test_a_source_that_had_the_captions_of_a_removed_one_can_be_read_again(tmp_path: Path) -> None:
    """It has no rows, since the other was read first; one that has rows of its own stays."""
    captions = {"a": CAPTIONS[:2], "b": CAPTIONS[1::-1], "c": CAPTIONS[1:3]}
    paths = {name: str(write_captions(tmp_path / f"{name}.parquet", texts)) for name, texts in captions.items()}
    folder = build_with(tmp_path, corpus=tuple(paths.values())).folder
    removed(folder, source="a.parquet", pattern="asleep")
    assert compact(folder) == (3, 2)
    assert build_with(tmp_path, append=(paths["b"],)).embedded == 0  # "a" stays, and so does what was like it
    removed(folder, source="a.parquet")
    assert compact(folder) == (2, 1)
    assert [source.uri for source in open_index(folder).manifest.sources] == [paths["c"]]
    assert build_with(tmp_path, append=(paths["c"],)).embedded == 0
    assert build_with(tmp_path, append=(paths["b"],)).embedded == 2
    assert list(verify(folder)) == []


def test_compacting_from_inside_and_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    removed(folder, pattern="pisa")
    monkeypatch.chdir(folder)
    assert compact(Path()) == (6, 5)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(folder)
    removed(folder, pattern="bus")
    assert compact(tmp_path / "link") == (5, 3)
    assert (tmp_path / "link").is_symlink()
    assert open_index(folder).captions(range(3)) == [CAPTIONS[row] for row in (0, 1, 4)]
    assert list(verify(folder)) == []


def test_a_compaction_killed_between_its_renames_is_taken_up(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    removed(folder, pattern="bus")
    folder.rename(folder.with_name("corpus.before-compacting"))
    assert compact(folder) == (6, 4)
    removed(folder, pattern=".")
    with pytest.raises(NoIndex, match="every caption was removed"):
        compact(folder)


def crashing_at(patch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Let the n-th renaming or deletion of a folder, or of something in it, crash; returns what was done until then."""
    done: list[str] = []

    def counted(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def crashing(path: Path, *rest: Any, **options: Any) -> Any:
            if not Path(path).exists():
                return None  # nothing to delete
            if len(done) == number:
                if name == "rmtree":  # which is killed at any of its files
                    next(Path(path).glob("manifest.json")).unlink()
                raise KilledError
            done.append(name)
            return act(path, *rest, **options)

        return crashing

    patch.setattr(Path, "rename", counted("rename", Path.rename))
    patch.setattr(shutil, "rmtree", counted("rmtree", shutil.rmtree))
    return done


class KilledError(BaseException):
    """As SIGKILL, but for what `finally` would still do."""


@pytest.mark.parametrize("after", ["compact", "append", "remove"])
def test_a_compaction_killed_anywhere_is_survived(tmp_path: Path, after: str) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    write_captions(tmp_path / "b.parquet", ["a windmill"])
    for number in range(10):
        out = tmp_path / str(number)
        folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),), out=out, export="cased").folder
        (folder / "notes.txt").write_text("mine")
        (folder / "more").mkdir()
        (folder / "more" / "captions-00000.parquet").write_text("mine as well")
        removed(folder, pattern="bus")
        with pytest.MonkeyPatch.context() as patch:
            done = crashing_at(patch, number)
            try:
                compact(folder)
            except KilledError:
                pass
            else:
                break  # there was nothing more to crash at
        (index,) = open_indexes(out) if folder.exists() else [open_index(before_of(folder))]
        assert index.manifest.rows - len(index.removed) == 4
        if after == "append":
            build_with(tmp_path, append=(str(tmp_path / "b.parquet"),), out=out)
        elif after == "remove":
            remove(folder, None, "pisa")
        compact(folder)
        assert faiss.read_index(str(folder / "cased/text.index")).ntotal == open_index(folder).manifest.rows
        removed(folder, pattern="map")
        assert compact(folder)[1] == {"compact": 3, "append": 4, "remove": 2}[after]
        assert [path.name for path in out.iterdir()] == ["corpus"]
        assert (folder / "notes.txt").read_text() == "mine"
        assert (folder / "more" / "captions-00000.parquet").read_text() == "mine as well"
        assert list(verify(folder)) == []
    assert done == ["rename"] * 5 + ["rmtree"]


def test_a_build_that_comes_between_the_renames_of_a_compaction_begins_no_other_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It saw the old folder, and would make a new one, whose next writer would delete the old as a leftover."""
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    write_captions(tmp_path / "b.parquet", ["a windmill"])
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    removed(folder, pattern="bus")
    mkdir = Path.mkdir

    def late(path: Path, *rest: Any, **options: Any) -> None:
        if path == folder and not before_of(folder).exists():
            folder.rename(before_of(folder))
        mkdir(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", late)
        with pytest.raises(ShardError, match=f"^{folder}: being compacted, .* run the same command again"):
            build_with(tmp_path, append=(str(tmp_path / "b.parquet"),))
    assert build_with(tmp_path, append=(str(tmp_path / "b.parquet"),)).manifest.rows == len(CAPTIONS) + 1
    assert not before_of(folder).exists()


def test_a_compaction_goes_on_where_a_build_came_between_its_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    removed(folder, pattern="bus")
    rename = Path.rename

    def renamed(path: Path, target: Path) -> None:
        rename(path, target)
        if target == before_of(folder):
            folder.mkdir()
            (folder / ".lock").touch()

    monkeypatch.setattr(Path, "rename", renamed)
    assert compact(folder) == (6, 4)
    assert list(verify(folder)) == []


def test_a_compaction_at_work_is_not_disturbed(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    removed(folder, pattern="bus")
    met: list[str] = []
    rename = Path.rename

    def meanwhile(path: Path, target: Path) -> None:
        rename(path, target)
        for change in (lambda: compact(folder), lambda: remove(folder, None, "map")):
            with pytest.raises(IndexBusy, match=f"^{folder}: another program") as refused:
                change()
            met.append(str(refused.value))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", meanwhile)
        assert compact(folder) == (6, 4)
    assert len(met) == 4
    assert list(verify(folder)) == []


def test_what_both_folders_hold_is_not_overwritten(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    shutil.copytree(folder, before_of(folder))
    for place in (folder, before_of(folder)):
        (place / "notes.txt").write_text(place.name)
    with pytest.raises(ShardError, match=r"before-compacting/notes\.txt: left by a compaction .* delete one$"):
        compact(folder)
    (folder / "notes.txt").unlink()
    compact(folder)
    assert (folder / "notes.txt").read_text() == "corpus.before-compacting"


@pytest.mark.parametrize(
    "name", ["captions-00000.parquet", "vectors-00000.npy", "concept-vectors-00000.npy", "counts.0001.npy"]
)
def test_damage_is_not_made_sound_by_compacting(tmp_path: Path, name: str) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    removed(folder, pattern="bus")
    flip(folder / name)
    before = contents(folder)
    with pytest.raises(ShardDamaged, match=f"^{folder / name}: "):
        compact(folder)
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["corpus"]
    flip(folder / name)
    assert compact(folder) == (6, 4)

"""Builds that are interrupted, damaged or asked for something else: nothing is lost, mixed or taken for its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Crash, LetterCounter, contents, write_captions
from msgspec.structs import replace
from test_build_index import CAPTIONS, DIFFERENT, NEW, config_for, embedded, no_encoder

from build_index import concept_stage, encoding
from build_index.config import CONCEPT_PROMPTS, BuildConfig
from build_index.pipeline import build
from shards import EncoderMismatch, NoIndex, ShardDamaged, ShardError, open_index, verify
from shards.errors import PlanConflict

# --- interrupted -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "CAPTIONS_PER_CALL", 2)
    monkeypatch.setattr(concept_stage, "CONCEPTS_PER_PART", 4)


@pytest.mark.usefixtures("small_calls")
def test_a_crash_in_the_encoder_costs_the_part_in_flight_and_changes_no_byte(tmp_path: Path) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    undisturbed = LetterCounter()
    expected = contents(build(config_for(tmp_path / "whole", corpus), lambda _: undisturbed).folder)
    captions_calls = 5  # two for each part of three captions, one for the last
    assert [text for call in undisturbed.calls[:captions_calls] for text in call] == DIFFERENT
    assert len(undisturbed.calls) > captions_calls + 8  # a call for each concept, four in a part
    for call in range(len(undisturbed.calls)):
        config = config_for(tmp_path / f"crash-{call}", corpus)
        crashing, resuming = LetterCounter(crash_at=call), LetterCounter()
        with pytest.raises(Crash):
            build(config, lambda _, encoder=crashing: encoder)
        with pytest.raises(NoIndex, match="an unfinished build; run the same build_index command again"):
            open_index(config.out / "corpus")
        report = build(config, lambda _, encoder=resuming: encoder)
        assert contents(report.folder) == expected
        in_flight = call // 2 * 2 if call < captions_calls else captions_calls + (call - captions_calls) // 4 * 4
        assert resuming.calls == undisturbed.calls[in_flight:]


def raising_crash(*_: object) -> None:
    raise Crash


def crash_at_rename(monkeypatch: pytest.MonkeyPatch, number: int) -> Callable[[], int]:
    """Let the n-th rename, counted from 0, crash instead; returns how many there were."""
    renames = 0
    replace = Path.replace

    def crashing(path: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == number + 1:
            raise Crash
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", crashing)
    return lambda: renames


def test_a_crash_before_any_rename_changes_no_byte(tmp_path: Path) -> None:
    """Files appear by renaming, so these are all the states in which a killed build can leave its folder."""
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    more = write_captions(tmp_path / "b.parquet", NEW)
    built = build(config_for(tmp_path / "whole", corpus), lambda _: LetterCounter())
    expected_first = contents(built.folder)
    expected_second = contents(build(config_for(tmp_path / "whole", corpus, more), lambda _: LetterCounter()).folder)
    for corpora, before, expected in (
        ([corpus], {}, expected_first),
        ([corpus, more], expected_first, expected_second),
    ):
        for number in range(100):
            out = tmp_path / f"crash-{len(corpora)}-{number}"
            (out / "shards" / "corpus").mkdir(parents=True)
            for name, data in before.items():
                (out / "shards" / "corpus" / name).write_bytes(data)
            with pytest.MonkeyPatch.context() as patch:
                renames = crash_at_rename(patch, number)
                try:
                    build(config_for(out, *corpora), lambda _: LetterCounter())
                except Crash:
                    pass
                else:
                    break  # there were no more renames to crash at
            if before:  # what was finished can still be read
                assert open_index(out / "shards" / "corpus").manifest == built.manifest
                assert list(verify(out / "shards" / "corpus")) == []
            assert contents(build(config_for(out, *corpora), lambda _: LetterCounter()).folder) == expected
        assert number == renames() >= 12


def test_a_crash_before_any_deletion_leaves_a_finished_index(tmp_path: Path) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    more = write_captions(tmp_path / "b.parquet", NEW)
    third = write_captions(tmp_path / "c.parquet", ["a third helping"])
    unlink = Path.unlink
    crashed_at = []
    for number in range(100):
        out = tmp_path / str(number)
        build(config_for(out, corpus), lambda _: LetterCounter())
        deletions: list[str] = []

        def crashing(
            path: Path, *, missing_ok: bool = False, at: int = number, deletions: list[str] = deletions
        ) -> None:
            if path.exists():
                deletions.append(path.name)
                if len(deletions) == at + 1:
                    raise Crash
            unlink(path, missing_ok=missing_ok)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "unlink", crashing)
            try:
                build(config_for(out, corpus, more), lambda _: LetterCounter())
            except Crash:
                crashed_at.append(deletions[-1])
            else:
                break  # there were no more deletions to crash at
        folder = out / "shards" / "corpus"
        assert open_index(folder).manifest.rows == 9
        assert list(verify(folder)) == []
        assert build(config_for(out, corpus, more), no_encoder).manifest.rows == 9
        report = build(config_for(out, corpus, more, third), lambda _: LetterCounter())
        assert set(contents(folder)) == {file.name for file in report.manifest.files()} | {"manifest.json"}
        assert list(verify(folder)) == []
    assert crashed_at[0] == "plan.json"
    assert len(crashed_at) == len(set(crashed_at)) == 7  # and every file of the earlier generation


def test_other_captions_replace_the_parts_of_an_unfinished_build(tmp_path: Path) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    with pytest.raises(Crash):
        build(config_for(tmp_path, corpus), lambda _: LetterCounter(crash_at=2))
    write_captions(corpus, [*NEW, *CAPTIONS])
    encoder = LetterCounter()
    resumed = build(config_for(tmp_path, corpus), lambda _: encoder)
    assert embedded(encoder) == [*NEW, *DIFFERENT]
    undisturbed = build(config_for(tmp_path / "whole", corpus), lambda _: LetterCounter())
    assert contents(resumed.folder) == contents(undisturbed.folder)


def test_the_same_captions_from_another_source_replace_them_too(tmp_path: Path) -> None:
    """A part says where each caption came from; a resume with other sources must not keep the old word."""
    nothing = write_captions(tmp_path / "0.parquet", [None])
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    with pytest.raises(Crash):
        build(config_for(tmp_path, nothing, corpus), lambda _: LetterCounter(crash_at=2))
    resumed = build(config_for(tmp_path, corpus), lambda _: LetterCounter())
    undisturbed = build(config_for(tmp_path / "whole", corpus), lambda _: LetterCounter())
    assert contents(resumed.folder) == contents(undisturbed.folder)
    assert list(verify(resumed.folder)) == []


def test_old_captions_never_stay_beside_new_vectors(tmp_path: Path) -> None:
    """Three runs: the second is killed between the vectors and the captions of a part that the first had finished."""
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    undisturbed = build(config_for(tmp_path / "whole", corpus), lambda _: LetterCounter())
    with pytest.raises(Crash):
        build(config_for(tmp_path, corpus), lambda _: LetterCounter(crash_at=2))
    write_captions(corpus, [*NEW, *CAPTIONS])
    with pytest.MonkeyPatch.context() as patch:
        crash_at_rename(patch, 1)
        with pytest.raises(Crash):
            build(config_for(tmp_path, corpus), lambda _: LetterCounter())
    write_captions(corpus, CAPTIONS)
    resumed = build(config_for(tmp_path, corpus), lambda _: LetterCounter())
    assert contents(resumed.folder) == contents(undisturbed.folder)


def test_a_part_of_an_unfinished_build_that_is_damaged_is_made_again(tmp_path: Path) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    undisturbed = build(config_for(tmp_path / "whole", corpus), lambda _: LetterCounter())
    for name, damage in (
        ("captions-00000.parquet", b"not parquet"),
        ("vectors-00000.npy", b"not npy"),
        ("concepts-00000.parquet", b"not parquet"),
        ("concept-vectors-00000.npy", b"not npy"),
    ):
        config = config_for(tmp_path / name, corpus)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(concept_stage, "write_concept_table", raising_crash)
            with pytest.raises(Crash):
                build(config, lambda _: LetterCounter())
        path = config.out / "corpus" / name
        assert path.exists()
        path.write_bytes(damage)
        encoder = LetterCounter()
        resumed = build(config, lambda _, encoder=encoder: encoder)
        assert len(encoder.calls) == 1  # the damaged part, and nothing else
        assert contents(resumed.folder) == contents(undisturbed.folder)


def test_what_lies_beside_an_index_stays(tmp_path: Path) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    more = write_captions(tmp_path / "b.parquet", NEW)
    folder = tmp_path / "shards" / "corpus"
    folder.mkdir(parents=True)
    (folder / "notes.2024.json").write_text("mine")
    build(config_for(tmp_path, corpus), lambda _: LetterCounter())
    for name in LEFT:
        (folder / name).write_text("left by a build that was given up")
    report = build(config_for(tmp_path, corpus, more), lambda _: LetterCounter())
    assert (folder / "notes.2024.json").read_text() == "mine"
    named = {file.name for file in report.manifest.files()}
    assert set(contents(folder)) == named | {"manifest.json", "notes.2024.json"}


LEFT = ["captions-00007.parquet.partial", "concept-vectors-00007.npy", "removed.0003.npy", "quality.0003.json"]


def test_files_without_a_manifest_and_a_plan_are_nobodys_to_delete(tmp_path: Path) -> None:
    nothing = write_captions(tmp_path / "0.parquet", [None])
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = tmp_path / "shards" / "corpus"
    folder.mkdir(parents=True)
    for name in (*LEFT, "captions-00000.parquet", "counts.0001.npy"):
        (folder / name).write_text("mine")
        before = contents(folder)
        for source in (nothing, corpus):
            with pytest.raises(
                ShardError, match=f"^{folder}: .* named like files of an index, .*another --name"
            ) as said:
                build(config_for(tmp_path, source), no_encoder)
            assert "\n" not in str(said.value)
            assert contents(folder) == before
        (folder / name).unlink()
    assert build(config_for(tmp_path, corpus), lambda _: LetterCounter()).manifest.rows == 7


def test_an_index_that_lost_its_manifest_is_not_swept_away(tmp_path: Path) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    more = write_captions(tmp_path / "b.parquet", NEW)
    folder = build(config_for(tmp_path, corpus), lambda _: LetterCounter()).folder
    with pytest.raises(Crash):  # and while captions were being added to it, too
        build(config_for(tmp_path, corpus, more), lambda _: LetterCounter(crash_at=0))
    assert (folder / "plan.json").exists()
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").unlink()
    before = contents(folder)
    for _ in range(2):
        with pytest.raises(ShardError, match=r"no manifest\.json that names them; restore it"):
            build(config_for(tmp_path, corpus, more), no_encoder)
        assert contents(folder) == before
        (folder / "plan.json").unlink(missing_ok=True)
        before.pop("plan.json", None)
    (folder / "manifest.json").write_bytes(manifest)
    assert build(config_for(tmp_path, corpus, more), lambda _: LetterCounter()).manifest.rows == 9
    assert list(verify(folder)) == []


def test_a_build_killed_before_it_had_a_plan_starts_again(tmp_path: Path) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = tmp_path / "shards" / "corpus"
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / "plan.json.partial").write_text("{")
    build(config_for(tmp_path, corpus), lambda _: LetterCounter())
    assert list(verify(folder)) == []
    assert "plan.json.partial" not in contents(folder)


# --- refused ---------------------------------------------------------------------------------------------------------


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    report = build(config_for(tmp_path, corpus), lambda _: LetterCounter())
    before = contents(report.folder)
    more = write_captions(tmp_path / "b.parquet", NEW)
    with pytest.raises(EncoderMismatch, match=r"holds vectors of LetterCounter/letters.* is LetterCounter/other"):
        build(config_for(tmp_path, corpus, more), lambda _: LetterCounter("other"))
    assert contents(report.folder) == before


def test_an_unfinished_build_of_something_else_is_refused(tmp_path: Path) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    with pytest.raises(Crash):
        build(config_for(tmp_path, corpus), lambda _: LetterCounter(crash_at=2))
    folder = tmp_path / "shards" / "corpus"
    before = contents(folder)
    with pytest.raises(PlanConflict, match=r"an unfinished build with LetterCounter/letters.*, this one has .*/other"):
        build(config_for(tmp_path, corpus), lambda _: LetterCounter("other"))
    other_parts = BuildConfig(corpus=(str(corpus),), name="corpus", out=tmp_path / "shards", rows_per_part=4)
    with pytest.raises(
        PlanConflict, match=f"or other settings; .*delete {folder / 'plan.json'} and the parts beside it to give"
    ):
        build(other_parts, lambda _: LetterCounter())
    assert contents(folder) == before
    (folder / "plan.json").unlink()
    with pytest.raises(ShardError, match=r"captions-00000\.parquet and 3 more, named like files of an index"):
        build(config_for(tmp_path, corpus), lambda _: LetterCounter("other"))
    for path in folder.glob("*-0*"):
        path.unlink()
    other = LetterCounter("other")
    build(config_for(tmp_path, corpus), lambda _: other)
    assert embedded(other) == DIFFERENT  # nothing of what was given up is taken for its own
    prompts = list(CONCEPT_PROMPTS)
    assert open_index(folder).manifest.encoder == replace(LetterCounter("other").identity, concept_prompts=prompts)
    assert list(verify(folder)) == []


@pytest.mark.parametrize("plan", [b"", b"{}", b"not JSON", b"\xff", b'{"name": 3}'])
def test_a_plan_that_cannot_be_read(tmp_path: Path, plan: bytes) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    path = tmp_path / "shards" / "corpus" / "plan.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(plan)
    with pytest.raises(
        PlanConflict, match=f"{path}: unreadable .*; delete {path} and the parts beside it to give it up"
    ):
        build(config_for(tmp_path, corpus), lambda _: LetterCounter())


def test_a_damaged_index_is_not_added_to(tmp_path: Path) -> None:
    corpus = write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build(config_for(tmp_path, corpus), lambda _: LetterCounter()).folder
    more = write_captions(tmp_path / "b.parquet", NEW)
    for name in ("captions-00001.parquet", "concepts-00000.parquet"):
        path = folder / name
        data = path.read_bytes()
        path.write_bytes(b"\0" * len(data))
        with pytest.raises(ShardDamaged, match=f"{path}: not readable as parquet"):
            build(config_for(tmp_path, corpus, more), lambda _: LetterCounter())
        path.write_bytes(data)
        assert list(verify(folder)) == []
    assert build(config_for(tmp_path, corpus, more), lambda _: LetterCounter()).manifest.rows == 9

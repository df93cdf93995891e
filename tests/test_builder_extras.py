"""What a builder of real corpora needs besides: locks, word lists, languages, data sets, exports, second thoughts."""

import re
from pathlib import Path

import faiss
import filelock
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Builder, LetterCounter, contents, write_captions
from search_material import sample_queries

from build_index import pipeline
from build_index.__main__ import main as build_command
from build_index.compact import compact
from build_index.concept_stage import least_captions
from build_index.config import BuildConfig
from build_index.errors import CorpusError
from build_index.export import export_cased
from build_index.faiss_index import Searcher
from build_index.language import Language
from build_index.pipeline import BuildReport, build
from build_index.quality import measure_quality
from build_index.search_index.exact import exact_rows
from build_index.search_index.stored import StoredVectors
from shards import IndexBusy, PlanConflict, ShardDamaged, ShardError, UserError, layout, open_index, verify
from shards.__main__ import main as shards_command
from shards.manifest import Manifest
from shards.removal import remove
from shards.writer import IndexWriter, Plan

CAPTIONS = [
    "Two golden retrievers on the beach",
    "A golden retriever asleep",
    "The Leaning Tower of Pisa at night",
    "a red bus in the rain",
    "an old map of the town",
    "a bus at night",
]


def build_with(tmp_path: Path, encoder: LetterCounter | None = None, **settings: object) -> BuildReport:
    config = BuildConfig(**{"out": tmp_path / "shards", "name": "corpus", "workers": 1, **settings})  # type: ignore[arg-type]
    return build(config, lambda _: encoder or LetterCounter())


def said_words(folder: Path) -> dict[str, tuple[str, int]]:
    """Every concept that may be said, with its kind and count."""
    concepts = open_index(folder).concepts
    words = concepts.words(range(len(concepts)))
    rows = zip(words, concepts.kinds, concepts.counts.tolist(), strict=True)
    return {word: (kind, count) for word, kind, count in rows if count}


def test_a_file_of_weights_without_a_name_is_noted_where_a_name_would_change_what_is_computed(tmp_path: Path) -> None:
    captions = write_captions(tmp_path / "a.parquet", CAPTIONS)
    for name, pretrained, noted in (("plain", None, True), ("named", "openai", False)):
        encoder = LetterCounter()
        encoder.identity = msgspec.structs.replace(
            encoder.identity, architecture="ViT-L-14-336", pretrained=pretrained, checkpoint="clip.pt"
        )
        notes = build_with(tmp_path, encoder, corpus=(str(captions),), name=name).notes
        assert len(notes) == noted
        for note in notes:
            assert re.search(r"^clip\.pt has no name.*openai want others.*--clip ViT-L-14-336/openai", note)


# --- concepts --------------------------------------------------------------------------------------------------------


def test_concepts_of_captions_are_counted_and_linked(build_index_of: Builder) -> None:
    folder = build_index_of(CAPTIONS, rows_per_part=4).folder
    words = said_words(folder)
    assert words["golden retriever"] == ("phrase", 2)
    assert words["leaning tower of pisa"] == ("proper", 1)
    assert words["bus"] == ("noun", 2)
    concepts = open_index(folder).concepts
    linked = [concepts.words(concepts.of_row(row)) for row in range(len(CAPTIONS))]
    assert linked[1] == ["golden retriever", "retriever"]
    assert "leaning tower of pisa" in linked[2]
    assert "bus" in linked[3]
    assert "bus" in linked[5]


def test_a_concepts_vector_is_the_normalised_mean_over_the_prompts(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    prompts = ("{}", "a photo of a {}.")
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),), concept_prompts=prompts).folder
    concepts = open_index(folder).concepts
    for number, word in enumerate(concepts.words(range(len(concepts)))):
        mean = LetterCounter().encode([word, f"a photo of a {word}."]).mean(axis=0)
        np.testing.assert_allclose(concepts.vectors([number])[0], mean / np.linalg.norm(mean), atol=1e-3)
    assert open_index(folder).manifest.encoder.concept_prompts == list(prompts)


def test_other_prompts_embed_the_concepts_again_and_no_caption(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    write_captions(tmp_path / "b.parquet", ["a windmill"])
    build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),), concept_prompts=("{}",))
    encoder = LetterCounter()
    report = build_with(tmp_path, encoder, corpus=(str(tmp_path / "b.parquet"),), concept_prompts=("the {}.",))
    assert report.embedded == 1
    assert report.concepts_embedded == report.manifest.concepts.rows == len(said_words(report.folder))
    assert not set(encoder.seen) & set(CAPTIONS)
    assert list(verify(report.folder)) == []


def test_an_append_keeps_the_prompts_of_the_index(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    write_captions(tmp_path / "b.parquet", ["a windmill"])
    build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),), concept_prompts=("a map of {}.",))
    encoder = LetterCounter()
    report = build_with(tmp_path, encoder, corpus=(str(tmp_path / "b.parquet"),))
    assert encoder.seen == ["a windmill", "a map of windmill."]
    assert report.manifest.encoder.concept_prompts == ["a map of {}."]


def test_rare_concepts_are_not_said_but_word_lists_always_are(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    (tmp_path / "words.txt").write_text("bat_(animal)\ngolden_retriever\nquokka\n\n")
    report = build_with(
        tmp_path, corpus=(str(tmp_path / "a.parquet"),), words=(str(tmp_path / "words.txt"),), least_captions=2
    )
    words = said_words(report.folder)
    assert words["quokka"] == ("word", 1)
    assert words["bat"] == ("word", 1)
    assert words["golden retriever"] == ("word", 3)
    assert words["bus"] == ("noun", 2)
    assert "leaning tower of pisa" not in words
    index = open_index(report.folder)
    assert index.captions(range(6, 9)) == ["bat", "golden retriever", "quokka"]
    assert report.manifest.tally.refused == {"empty": 1}


@pytest.mark.parametrize("at_once", [True, False])
def test_a_file_that_is_read_as_captions_can_be_a_word_list_too(tmp_path: Path, *, at_once: bool) -> None:
    (tmp_path / "a.txt").write_text("blue boat\nrunning\n")
    (tmp_path / "same.txt").write_text("blue boat\nrunning\n")
    captions, words = (str(tmp_path / "a.txt"),), (str(tmp_path / "a.txt"), str(tmp_path / "same.txt"))
    if at_once:
        report = build_with(tmp_path, corpus=captions, words=words)
    else:
        build_with(tmp_path, corpus=captions)
        report = build_with(tmp_path, words=words)
    assert report.notes == (f"{words[1]} is {words[0]} byte for byte, which is read once",)
    assert said_words(report.folder)["running"] == ("word", 2)
    assert [(info.rows, info.complete) for info in report.manifest.sources] == [(2, True), (2, True)]
    assert list(verify(report.folder)) == []
    again = build_with(tmp_path, corpus=captions, words=words)
    assert (again.embedded, again.manifest) == (0, report.manifest)


def test_another_column_of_a_file_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("short,long\na dog,a brown dog on a lawn\n")
    for column, captions in (("short", ["a dog"]), ("long", ["a dog", "a brown dog on a lawn"])):
        for _ in range(2):
            report = build_with(tmp_path, corpus=(str(path),), caption_column=column)
            assert open_index(report.folder).captions(range(report.manifest.rows)) == captions
            assert report.manifest.tally.read == len(captions)
            assert report.notes == ()


def test_a_listed_word_is_said_though_a_caption_reads_the_same(tmp_path: Path) -> None:
    """One caption is too few for its words to be said; a line of a list is a row of its own, and always said."""
    captions = write_captions(tmp_path / "a.parquet", ["quokka", "running", *CAPTIONS])
    (tmp_path / "words.txt").write_text("running\nquokka\nquokka\n")
    (tmp_path / "more.txt").write_text("quokka\nwombat\n")
    report = build_with(tmp_path, corpus=(str(captions),), least_captions=2)
    assert said_words(report.folder).keys() & {"quokka", "running"} == set()
    report = build_with(tmp_path, words=(str(tmp_path / "words.txt"),), least_captions=2)
    words = said_words(report.folder)
    assert (words["running"], words["quokka"]) == (("word", 2), ("word", 2))
    assert report.embedded == 2
    report = build_with(tmp_path, words=(str(tmp_path / "more.txt"),), least_captions=2)
    assert open_index(report.folder).captions(range(8, 11)) == ["running", "quokka", "wombat"]
    tally = report.manifest.tally
    assert (tally.kept, tally.duplicates) == (11, 2)
    later = write_captions(tmp_path / "b.parquet", ["wombat", "quokka"])  # a caption stays a caption, whoever was first
    report = build_with(tmp_path, corpus=(str(later),), least_captions=2)
    assert open_index(report.folder).captions([11]) == ["wombat"]
    assert list(verify(report.folder)) == []


def test_the_least_number_of_captions_grows_with_the_corpus() -> None:
    assert [least_captions(rows) for rows in (1, 100_000, 100_001, 10**9)] == [1, 1, 2, 5]


@pytest.mark.parametrize("language", list(Language))
def test_captions_of_any_language_break_nothing(tmp_path: Path, language: Language) -> None:
    captions = ["Zwei Hunde am Strand von Sylt", "Une femme devant la Tour Eiffel", "犬と猫", "😀😀", "twee honden"]
    write_captions(tmp_path / "a.parquet", [*captions, *CAPTIONS])
    report = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),), language=language)
    assert report.manifest.rows == 10
    assert report.manifest.tally.refused == {"empty": 1}
    assert list(verify(report.folder)) == []
    if language is Language.GERMAN:
        assert "hund" in said_words(report.folder)


def test_captions_of_which_no_word_can_be_a_label_are_said(tmp_path: Path) -> None:
    """The labeler would call every region unknown, and nobody would know why."""
    write_captions(tmp_path / "a.parquet", ["犬と猫", "海辺の犬"])
    (tmp_path / "words.txt").write_text("犬\n")
    (note,) = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).notes
    assert note.startswith(
        "no word of these captions can be a label, so every region will be called unknown; --language"
    )
    report = build_with(tmp_path, words=(str(tmp_path / "words.txt"),))
    assert (report.notes, said_words(report.folder)) == ((), {"犬": ("word", 1)})


def test_workers_find_what_one_process_finds(tmp_path: Path) -> None:
    captions = [f"{caption} {number}" for number in range(1_000) for caption in CAPTIONS]
    write_captions(tmp_path / "a.parquet", captions)
    alone = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),), out=tmp_path / "alone")
    together = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),), out=tmp_path / "together", workers=2)
    assert contents(alone.folder) == contents(together.folder)


# --- sources ---------------------------------------------------------------------------------------------------------


def test_a_data_set_is_streamed_through_datasets(tmp_path: Path) -> None:
    write_captions(tmp_path / "set" / "train-0.parquet", CAPTIONS[:3])
    write_captions(tmp_path / "set" / "train-1.parquet", CAPTIONS[2:])
    report = build_with(tmp_path, corpus=(f"hf:{tmp_path / 'set'}",))
    assert open_index(report.folder).captions(range(6)) == CAPTIONS
    assert report.manifest.tally.duplicates == 1
    again = build_with(tmp_path, corpus=(f"hf:{tmp_path / 'set'}",))
    assert again.embedded == 0


def test_a_data_set_that_is_not_to_be_had_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"^hf:/nowhere/at/all: ") as caught:
        build_with(tmp_path, corpus=("hf:/nowhere/at/all",))
    assert "\n" not in str(caught.value)


def test_an_img2dataset_folder_gives_the_captions_of_failed_downloads_too(tmp_path: Path) -> None:
    for shard, status in enumerate((["success", "failed_to_download"], ["success", "success"])):
        table = pa.table({"caption": CAPTIONS[2 * shard : 2 * shard + 2], "url": ["u", "v"], "status": status})
        (tmp_path / "downloaded").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "downloaded" / f"0000{shard}.parquet")
        (tmp_path / "downloaded" / f"0000{shard}.tar").write_bytes(b"pictures")
    report = build_with(tmp_path, corpus=("img2dataset",), data_dir=tmp_path / "downloaded")
    assert open_index(report.folder).captions(range(4)) == CAPTIONS[:4]


def test_append_needs_an_index(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    with pytest.raises(CorpusError, match="no index at"):
        build_with(tmp_path, append=(str(tmp_path / "a.parquet"),))


def test_nothing_to_build_from_is_refused() -> None:
    with pytest.raises(ValueError, match="--corpus, --append, --words or --merge"):
        BuildConfig()


def test_an_append_of_a_tenth_with_a_tenth_of_duplicates_costs_the_unseen_ones(tmp_path: Path) -> None:
    """1,000 captions, then 100 of which 10 were met before: 90 are embedded, and no byte of the old parts moves."""
    old = [f"{caption} number {number}" for number in range(250) for caption in CAPTIONS[:4]]
    new = [f"{caption} on page {number}" for number in range(30) for caption in CAPTIONS[:3]]
    write_captions(tmp_path / "old.parquet", old)
    write_captions(tmp_path / "new.parquet", [*new[:50], *old[100:110], *new[50:]])
    folder = build_with(tmp_path, corpus=(str(tmp_path / "old.parquet"),), rows_per_part=300).folder
    before = {name: content for name, content in contents(folder).items() if "-0" in name}
    encoder = LetterCounter()
    report = build_with(tmp_path, encoder, append=(str(tmp_path / "new.parquet"),), rows_per_part=300)
    assert report.embedded == 90
    assert [text for text in encoder.seen if text in {*old, *new}] == new
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    assert open_index(folder).captions(range(1_000, 1_090)) == new
    assert report.manifest.tally.duplicates == 10
    assert list(verify(folder)) == []


# --- one writer at a time --------------------------------------------------------------------------------------------


def test_the_second_builder_in_a_folder_is_refused(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = tmp_path / "shards/corpus"
    with IndexWriter(folder), pytest.raises(IndexBusy, match="another program"):
        build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),))
    assert build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).embedded == 6
    with filelock.FileLock(folder / layout.LOCK), pytest.raises(IndexBusy):
        remove(folder, None, "bus")


def test_a_first_build_that_is_refused_leaves_nothing_that_it_made(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/vectors-00000.npy").touch()

    def refuse(_: BuildConfig) -> LetterCounter:
        raise ShardError("no such network")

    for out, loads, said in (
        ("new/shards", refuse, "no such network"),
        ("new/shards", lambda _: LetterCounter(), "not one caption could be used"),
        (".", refuse, "named like files of an index"),
    ):
        config = BuildConfig(corpus=(str(tmp_path / "empty.txt"),), out=tmp_path / out, name="mine")
        with pytest.raises(UserError, match=said):
            build(config, loads)
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty.txt", "mine", "vectors-00000.npy"]


def test_an_unfinished_append_is_not_swept_away(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    with IndexWriter(folder) as writer:
        writer.begin(LetterCounter().identity, "sha256:settings")
    for change in (lambda: remove(folder, None, "bus"), lambda: compact(folder)):
        with pytest.raises(PlanConflict, match="unfinished build"):
            change()


def test_a_writer_killed_between_manifest_and_tidying_is_tidied_after(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    before = contents(folder)
    plan = Plan(generation=1, name="corpus", encoder=LetterCounter().identity, settings="sha256:s")
    (folder / layout.PLAN).write_bytes(msgspec.json.encode(plan))
    (folder / "counts.0000.npy").write_bytes(b"of the generation before")
    build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),))
    assert contents(folder) == before


# --- second thoughts -------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    """Turn one bit at the end of a file; twice, and it is as before."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def removed(folder: Path, **what: str | None) -> tuple[Manifest, int]:
    return remove(folder, **{"source": None, "pattern": None, **what})


def test_removing_by_pattern_and_source(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS[:4])
    write_captions(tmp_path / "b.parquet", CAPTIONS[3:])
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet"))).folder
    parts = {name: content for name, content in contents(folder).items() if "-0" in name}
    assert removed(folder, source="b.parquet", pattern="BUS")[1] == 1
    assert open_index(folder).removed.tolist() == [5]
    assert removed(folder, pattern="retriever")[1] == 2
    assert removed(folder, pattern="retriever")[1] == 0
    words = said_words(folder)
    assert "golden retriever" not in words
    assert words["bus"] == ("noun", 1)
    assert {name: contents(folder)[name] for name in parts} == parts
    with pytest.raises(ShardError, match=r"no source c\.parquet; the sources: .*a\.parquet"):
        removed(folder, source="c.parquet")
    with pytest.raises(ShardError, match="not a regular expression"):
        removed(folder, pattern="(")
    with pytest.raises(ShardError, match="--matching: empty"):
        removed(folder, source="b.parquet", pattern="")


def test_a_source_that_is_written_out_is_not_another_that_ends_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_captions(Path("a.parquet"), CAPTIONS[:2])
    write_captions(Path("more/a.parquet"), CAPTIONS[2:])
    folder = build_with(tmp_path, corpus=("a.parquet", "more/a.parquet")).folder
    assert removed(folder, source="a.parquet")[1] == 2
    assert removed(folder, source="more/a.parquet")[1] == 4


def test_damage_is_not_made_sound_by_removing(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    removed(folder, pattern="pisa")
    flip(folder / "removed.0002.npy")
    before = contents(folder)
    with pytest.raises(ShardDamaged, match=f"^{folder / 'removed.0002.npy'}: SHA-256"):
        removed(folder, pattern="bus")
    assert contents(folder) == before


def test_a_source_is_removed_from_the_indexes_that_have_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        write_captions(tmp_path / f"{name}.parquet", CAPTIONS)
        build_with(tmp_path, corpus=(str(tmp_path / f"{name}.parquet"),), name=name)
    before = contents(tmp_path / "shards" / "a")
    assert shards_command(["remove", str(tmp_path / "shards"), "--source", "b.parquet"]) == 0
    assert "6 captions removed" in capsys.readouterr().out
    assert contents(tmp_path / "shards" / "a") == before
    assert len(open_index(tmp_path / "shards" / "b").removed) == len(CAPTIONS)
    assert shards_command(["remove", str(tmp_path / "shards"), "--source", "c.parquet"]) == 2
    assert re.search(r"shards: no source c\.parquet; the sources: .*a\.parquet, .*b\.parquet", capsys.readouterr().err)


def test_a_removal_chooses_kinds_anew(tmp_path: Path) -> None:
    """Without the list, a word is of the kind that captions have it in; too rare a one is said until an append."""
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    (tmp_path / "words.txt").write_text("golden_retriever\nbus\nquokka\n")
    sources = {"corpus": (str(tmp_path / "a.parquet"),), "words": (str(tmp_path / "words.txt"),)}
    folder = build_with(tmp_path, **sources, least_captions=2).folder
    removed(folder, source="words.txt")
    removed(folder, pattern="asleep")
    left = {"golden retriever": ("phrase", 1), "retriever": ("noun", 1), "bus": ("noun", 2)}
    assert said_words(folder) == left
    assert list(verify(folder)) == []
    write_captions(tmp_path / "b.parquet", ["a windmill"])
    build_with(tmp_path, append=(str(tmp_path / "b.parquet"),), least_captions=2)
    assert said_words(folder) == {"bus": ("noun", 2)}


def test_an_append_after_a_removal_keeps_it_removed(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    removed(folder, pattern="retriever")
    write_captions(tmp_path / "b.parquet", ["a windmill", CAPTIONS[2]])
    report = build_with(tmp_path, append=(str(tmp_path / "b.parquet"),))
    assert (report.embedded, report.back, report.notes) == (1, 0, ())
    assert open_index(folder).removed.tolist() == [0, 1]
    assert "golden retriever" not in said_words(folder)
    assert "windmill" in said_words(folder)


def test_a_removed_caption_that_is_appended_is_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In its old row, since no two rows of an index hold the same caption; nothing is embedded."""
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    words = said_words(folder)
    removed(folder, pattern="retriever|pisa")
    write_captions(tmp_path / "b.parquet", [CAPTIONS[1]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "load_encoder_of", lambda *_: LetterCounter())
        flags = ["--name", "corpus", "--out", str(tmp_path / "shards"), "--workers", "1"]
        assert build_command(["--append", str(tmp_path / "a.parquet"), *flags]) == 0
        assert "nothing new; 6 captions as before, 3 of them removed\n" in capsys.readouterr().out
        assert build_command(["--append", str(tmp_path / "b.parquet"), *flags]) == 0
    said = capsys.readouterr().out
    assert "note: 1 removed captions are back, since a source holds them; shards remove takes them out again" in said
    assert "6 captions, 2 of them removed, 0 embedded now; " in said
    index = open_index(folder)
    assert index.removed.tolist() == [0, 2]
    assert index.counts().tolist() == [1, 2, 1, 1, 1, 1]
    assert said_words(folder)["golden retriever"] == ("phrase", 1)
    assert Searcher(index).search(index.vectors([1]), 1)[1].tolist() == [[1]]
    assert list(verify(folder)) == []
    write_captions(tmp_path / "c.parquet", [CAPTIONS[0], CAPTIONS[2]])
    assert build_with(tmp_path, append=(str(tmp_path / "c.parquet"),)).back == 2
    assert open_index(folder).manifest.removed is None
    assert said_words(folder) == words
    assert list(verify(folder)) == []
    assert sorted(contents(folder)) == sorted(
        {file.name for file in open_index(folder).manifest.files()} | {"manifest.json"}
    )


def test_counts_that_are_damaged_are_not_carried_on(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    write_captions(tmp_path / "b.parquet", ["a windmill"])
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    flip(folder / "counts.0001.npy")
    with pytest.raises(ShardDamaged, match=r"counts\.0001\.npy: SHA-256"):
        build_with(tmp_path, append=(str(tmp_path / "b.parquet"),))
    flip(folder / "counts.0001.npy")
    assert build_with(tmp_path, append=(str(tmp_path / "b.parquet"),)).manifest.rows == 7


def test_an_append_keeps_the_name_of_a_folder_that_was_renamed(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    write_captions(tmp_path / "b.parquet", ["a windmill"])
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),)).folder
    folder.rename(folder.with_name("renamed"))
    report = build_with(tmp_path, append=(str(tmp_path / "b.parquet"),), name="renamed")
    assert report.folder == folder.with_name("renamed")
    assert report.manifest.name == "corpus"


# --- what comes out --------------------------------------------------------------------------------------------------


def test_measured_recall_is_true_and_stored(build_index_of: Builder) -> None:
    things = [f"{kind} {thing}" for kind in ("old", "red", "wet") for thing in ("dog", "map", "bus")]
    captions = [f"{thing} in the {weather}" for thing in things for weather in ("sun", "rain")]
    folder = build_index_of(captions, rows_per_part=5).folder
    index = open_index(folder)
    queries = sample_queries(index)
    everything = index.vectors(range(len(captions)))
    truth = np.argsort(-(queries @ everything.T), axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(exact_rows(StoredVectors.of(index), queries, 10), truth)
    assert measure_quality(index)["recall"] >= 0.99  # ties may fall either way
    assert index.manifest.quality is not None
    assert b'"recall"' in (folder / index.manifest.quality.name).read_bytes()


def test_the_cased_export_reads_as_their_code_reads_it(tmp_path: Path) -> None:
    """As `RetrievalDatabase` of CaSED does: a memory-mapped index, captions from every file below metadata."""
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),), rows_per_part=4).folder
    removed(folder, pattern="map")
    database = export_cased(open_index(folder))
    text_index = faiss.read_index(str(database / "text.index"), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    files = sorted(str(path) for path in (database / "metadata").glob("**/*") if path.is_file())
    table = pa.concat_tables([pa.ipc.RecordBatchFileReader(pa.memory_map(file, "r")).read_all() for file in files])
    query = LetterCounter().encode(["a red bus in the rain"])
    distances, ids, vectors = text_index.search_and_reconstruct(query, 2)
    assert table["caption"][int(ids[0, 0])].as_py() == "a red bus in the rain"
    assert distances[0, 0] == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(vectors[0, 0], query[0], atol=1e-3)
    assert table["caption"].to_pylist() == [caption for caption in CAPTIONS if "map" not in caption]


def test_an_export_that_is_killed_leaves_no_ids_beside_other_captions(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),), export="cased").folder
    removed(folder, pattern="bus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("build_index.export.write_flat", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export_cased(open_index(folder))
    assert [path.name for path in (folder / "cased").iterdir()] == ["metadata"]
    export_cased(open_index(folder))
    assert faiss.read_index(str(folder / "cased/text.index")).ntotal == 4


def test_an_export_that_is_older_than_the_index_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    write_captions(tmp_path / "b.parquet", ["a windmill"])
    report = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),), export="cased")
    assert report.notes == ()
    folder = report.folder
    assert shards_command(["remove", str(folder), "--matching", "bus"]) == 0
    assert f"note: {folder}/cased still holds them; run build_index with --export cased" in capsys.readouterr().out
    report = build_with(tmp_path, append=(str(tmp_path / "b.parquet"),))
    assert report.notes == (f"{folder}/cased is older than the index now; --export cased makes it anew",)
    assert faiss.read_index(str(folder / "cased/text.index")).ntotal == 6
    assert shards_command(["compact", str(folder)]) == 0
    assert f"note: {folder}/cased was made anew" in capsys.readouterr().out
    assert faiss.read_index(str(folder / "cased/text.index")).ntotal == 5


def test_the_export_flag(tmp_path: Path) -> None:
    write_captions(tmp_path / "a.parquet", CAPTIONS)
    folder = build_with(tmp_path, corpus=(str(tmp_path / "a.parquet"),), export="cased").folder
    assert (folder / "cased/text.index").exists()
    assert list(verify(folder)) == []


@pytest.mark.parametrize("template", ["a dog", "{} and {}", "{} }", "{ {}", "a {0} {}"])
def test_templates_that_cannot_be_filled(template: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"--concept-prompts {template!r}: must hold {{}} once")):
        BuildConfig(corpus=("demo",), concept_prompts=(template,))

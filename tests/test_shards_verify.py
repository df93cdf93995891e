"""`verify` finds every byte that changed, and every promise that a writer broke."""

import errno
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Builder, contents, resealed

from shards import NoIndex, ShardDamaged, UnsupportedVersion, open_index, verify
from shards.__main__ import main
from shards.files import file_info
from shards.manifest import Manifest, load
from shards.parts import text_hash
from shards.removal import remove

CAPTIONS = [f"caption {number} of {word}" for number in range(3) for word in ("a dog", "two cats", "the sea")]


@pytest.fixture
def folder(build_index_of: Builder) -> Path:
    return build_index_of([*CAPTIONS, CAPTIONS[0], None], rows_per_part=4).folder


@pytest.fixture
def thinned(folder: Path) -> Path:
    """An index that has every kind of file there is: the ninth caption is removed."""
    remove(folder, None, "caption 2 of the sea")
    return folder


def defects(folder: Path) -> list[str]:
    """What is found, where a version that nobody knows counts as a find as well."""
    try:
        return list(verify(folder))
    except UnsupportedVersion as error:
        return [str(error)]


def test_a_sound_index_has_no_defects(folder: Path) -> None:
    assert list(verify(folder)) == []
    remove(folder, None, "caption 2 of the sea")
    assert list(verify(folder)) == []


# --- bytes -----------------------------------------------------------------------------------------------------------


EVERY_KIND = [
    *(f"captions-0000{part}.parquet" for part in range(3)),
    "captions.0001.faiss",
    "concept-vectors-00000.npy",
    "concepts-00000.parquet",
    "concepts.0002.parquet",
    "counts.0001.npy",
    "links.0001.npy",
    "manifest.json",
    "quality.0001.json",
    "removed.0002.npy",
    "starts.0001.npy",
    *(f"vectors-0000{part}.npy" for part in range(3)),
]


def test_a_flipped_byte_in_any_file_is_found(thinned: Path) -> None:
    folder = thinned
    assert sorted(contents(folder)) == EVERY_KIND
    rng = random.Random(0)
    for name, sound in contents(folder).items():
        path = folder / name
        for place in {0, len(sound) // 2, len(sound) - 1, *(rng.randrange(len(sound)) for _ in range(30))}:
            damaged = bytearray(sound)
            damaged[place] ^= rng.randrange(1, 256)
            path.write_bytes(damaged)
            found = defects(folder)
            assert len(found) == 1, (name, place)
            assert str(path) in found[0]
        path.write_bytes(sound)
    assert list(verify(folder)) == []


def test_any_flipped_byte_of_the_manifest_is_found(thinned: Path) -> None:
    folder = thinned
    path = folder / "manifest.json"
    sound = path.read_bytes()
    for place in range(len(sound)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert str(path) in "".join(defects(folder)), place


def test_missing_cut_and_longer_files_are_found(thinned: Path) -> None:
    folder = thinned
    for name, sound in contents(folder).items():
        path = folder / name
        for damaged in (b"", sound[:-1], sound[: len(sound) // 2], sound + b"\0", sound * 2):
            path.write_bytes(damaged)
            assert [str(path) in line for line in defects(folder)] == [True], name
        path.unlink()
        if name != "manifest.json":
            (line,) = verify(folder)
            assert line.startswith(f"{path}: No such file")
        path.write_bytes(sound)


def test_every_damaged_file_is_named(thinned: Path) -> None:
    folder = thinned
    names = [file.name for file in open_index(folder).manifest.files()]
    for name in names:
        with (folder / name).open("r+b") as stream:
            stream.write(b"damage")
    assert [line.split(":")[0] for line in verify(folder)] == [str(folder / name) for name in names]


def test_a_file_that_cannot_be_read_is_a_defect(thinned: Path) -> None:
    """Whatever the disk says: `verify` goes on with the next file."""
    for name in set(EVERY_KIND) - {"manifest.json"}:
        path = thinned / name
        sound = path.read_bytes()
        path.unlink()
        path.mkdir()
        (line,) = verify(thinned)
        assert line.startswith(f"{path}: ")
        path.rmdir()
        path.write_bytes(sound)
    assert list(verify(thinned)) == []


def test_an_error_of_the_disk_is_a_defect(thinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def failing(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name in ("links.0001.npy", "counts.0001.npy"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", failing)
    assert list(verify(thinned)) == [
        f"{thinned / name}: cannot be read (Input/output error)" for name in ("counts.0001.npy", "links.0001.npy")
    ]


def test_other_files_are_ignored(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / "vectors-00009.npy.partial").write_bytes(b"half")
    assert list(verify(folder)) == []


def test_nothing_to_verify_is_no_defect(tmp_path: Path) -> None:
    with pytest.raises(NoIndex):
        list(verify(tmp_path))


# --- content: the digests are consistent, the promises are broken ----------------------------------------------------


def consistent(folder: Path) -> None:
    """Let the manifest agree with the sizes and digests of all files as they are now."""

    def as_now(content: Any) -> Any:
        if isinstance(content, list):
            return [as_now(value) for value in content]
        if not isinstance(content, dict):
            return content
        if set(content) == {"name", "bytes", "sha256"}:
            return msgspec.to_builtins(file_info(folder / content["name"]))
        return {name: as_now(value) for name, value in content.items()}

    content = msgspec.convert(as_now(msgspec.to_builtins(load(folder))), Manifest)
    resealed(folder, **msgspec.structs.asdict(content))


def change_vectors(folder: Path, change: Callable[[np.ndarray[Any, Any]], object]) -> Path:
    return change_array(folder / "vectors-00001.npy", change)


def change_captions(folder: Path, change: Callable[[dict[str, list[Any]]], object]) -> Path:
    return change_table(folder / "captions-00001.parquet", change)


def change_table(path: Path, change: Callable[[dict[str, list[Any]]], object]) -> Path:
    table = pq.read_table(path)
    columns = table.to_pydict()
    change(columns)
    pq.write_table(pa.table(columns, schema=table.schema), path)
    consistent(path.parent)
    return path


def change_array(path: Path, change: Callable[[np.ndarray[Any, Any]], object]) -> Path:
    array = np.load(path)
    change(array)
    np.save(path, array)
    consistent(path.parent)
    return path


def put(place: Any, value: Any) -> Callable[[Any], None]:
    def change(values: Any) -> None:
        values[place] = value

    return change


@pytest.mark.parametrize("value", [0.0, 2.0, np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_a_unit_vector(folder: Path, value: float) -> None:
    path = change_vectors(folder, put((2, slice(None)), value))
    assert list(verify(folder)) == [f"{path}: 1 rows are not unit vectors, first at 2"]


def test_how_far_from_1_a_norm_may_be(folder: Path) -> None:
    def scale(factor: float) -> list[str]:
        change_vectors(folder, put(slice(None), np.full((4, 27), factor / np.sqrt(27), np.float16)))
        return list(verify(folder))

    assert scale(1.0) == scale(1.0015) == scale(0.9985) == []
    assert len(scale(1.003)) == len(scale(0.997)) == 1


def test_row_numbers_that_are_wrong(folder: Path) -> None:
    path = change_captions(folder, lambda columns: put(slice(None), [4, 5, 7, 6])(columns["row"]))
    assert list(verify(folder)) == [f"{path}: rows are not 4 to 7 in order"]


def test_a_hash_that_does_not_belong_to_its_text(folder: Path) -> None:
    path = change_captions(folder, lambda columns: put(1, "another caption")(columns["text"]))
    assert list(verify(folder)) == [f"{path}: a hash does not belong to its text"]


def test_a_caption_twice_in_a_part(folder: Path) -> None:
    def repeat(columns: dict[str, list[Any]]) -> None:
        for name in ("text", "hash"):
            columns[name][1] = columns[name][0]

    path = change_captions(folder, repeat)
    assert list(verify(folder)) == [f"{path}: a caption occurs twice"]


def test_a_caption_of_an_earlier_part(folder: Path) -> None:
    def repeat(columns: dict[str, list[Any]]) -> None:
        columns["text"][3], columns["hash"][3] = CAPTIONS[0], text_hash(CAPTIONS[0])

    path = change_captions(folder, repeat)
    assert list(verify(folder)) == [f"{path}: a caption occurs twice"]


@pytest.mark.parametrize("source", [-1, 1])
def test_a_source_that_is_not_listed(folder: Path, source: int) -> None:
    path = change_captions(folder, lambda columns: put(0, source)(columns["source"]))
    assert list(verify(folder)) == [f"{path}: a source that the manifest does not list"]


def test_captions_with_other_columns(folder: Path) -> None:
    path = folder / "captions-00001.parquet"
    table = pq.read_table(path)
    for other in (
        table.drop_columns(["source"]),
        table.drop_columns(["concepts"]),
        table.append_column("shadow", table["row"]),
        table.cast(table.schema.set(3, pa.field("source", pa.int64(), nullable=False))),
        table.cast(table.schema.set(1, pa.field("text", pa.string()))),
        table.cast(table.schema.set(1, pa.field("text", pa.large_string(), nullable=False))),
        table.set_column(4, "concepts", pa.array([["dog"]] * 4)),
    ):
        pq.write_table(other, path)
        consistent(folder)
        (line,) = verify(folder)
        assert line.startswith(f"{path}: columns {other.schema.names}, expected")


@pytest.mark.parametrize("name", ["concepts-00000.parquet", "concepts.0002.parquet"])
def test_words_with_other_columns(thinned: Path, name: str) -> None:
    path = thinned / name
    table = pq.read_table(path)
    for other in (
        table.drop_columns(table.schema.names[:1]),
        table.append_column("shadow", table.columns[0]),
        table.cast(pa.schema([(field.name, field.type) for field in table.schema])),
        table.select([1, 0]),
    ):
        pq.write_table(other, path)
        consistent(thinned)
        (line,) = verify(thinned)
        assert line.startswith(f"{path}: columns {other.schema.names}, expected")


@pytest.mark.parametrize("name", ["captions-00001.parquet", "concepts-00000.parquet", "concepts.0002.parquet"])
def test_tables_that_are_no_parquet_or_have_other_rows(thinned: Path, name: str) -> None:
    path = thinned / name
    table = pq.read_table(path)
    path.write_bytes(b"not parquet")
    consistent(thinned)
    (line,) = verify(thinned)
    assert line.startswith(f"{path}: not readable as parquet")
    pq.write_table(table.slice(1), path)
    consistent(thinned)
    (line,) = verify(thinned)
    assert line == f"{path}: {len(table) - 1} rows, the manifest says {len(table)}"


@pytest.mark.parametrize("name", ["captions-00001.parquet", "concepts-00000.parquet"])
def test_text_that_is_not_utf_8(thinned: Path, name: str) -> None:
    path = thinned / name
    table = pq.read_table(path)
    text = pa.array([value.encode()[:-1] + b"\xff" for value in table["text"].to_pylist()], pa.binary())
    table = table.set_column(1, table.schema.field("text"), text.view(pa.string()))
    pq.write_table(table, path)
    consistent(thinned)
    (line,) = verify(thinned)
    assert line.startswith(f"{path}: cannot be read (")


@pytest.mark.parametrize(("name", "rows"), [("vectors-00001.npy", 4), ("concept-vectors-00000.npy", 3)])
def test_vectors_of_another_shape(thinned: Path, name: str, rows: int) -> None:
    path = thinned / name
    np.save(path, np.load(path)[: rows - 1])
    consistent(thinned)
    (line,) = verify(thinned)
    assert line == f"{path}: float16 [{rows - 1}, 27], expected float16 [{rows}, 27] in C order"


def test_every_broken_promise_is_named(thinned: Path) -> None:
    """A file that cannot be used hides none of the others."""
    broken = [
        "captions-00001.parquet",
        "concepts.0002.parquet",
        "counts.0001.npy",
        "quality.0001.json",
        "removed.0002.npy",
    ]
    for name in broken:
        (thinned / name).write_bytes(b"nothing")
    consistent(thinned)
    assert sorted(line.split(":")[0] for line in verify(thinned)) == [str(thinned / name) for name in broken]


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        (np.ones(9, "<u4"), "captions were met 9 times, the manifest says 10"),
        (np.array([0, 2] + [1] * 6 + [2], "<u4"), "captions were met 10 times, the manifest says 10"),
        (np.ones(10, "<u4"), "uint32 [10], expected uint32 [9] in C order"),
        (np.ones(9, "<i8"), "int64 [9], expected uint32 [9] in C order"),
    ],
    ids=["sum", "zero", "rows", "type"],
)
def test_counts_that_cannot_be(folder: Path, counts: np.ndarray[Any, Any], line: str) -> None:
    np.save(folder / "counts.0001.npy", counts)
    consistent(folder)
    assert list(verify(folder)) == [f"{folder / 'counts.0001.npy'}: {line}"]


@pytest.mark.parametrize("change", [{"read": 12}, {"refused": {}}, {"kept": 8, "duplicates": 2}])
def test_books_that_do_not_balance(folder: Path, change: dict[str, Any]) -> None:
    tally = open_index(folder).manifest.tally
    assert msgspec.to_builtins(tally) == {"read": 11, "kept": 9, "duplicates": 1, "refused": {"null": 1}}
    resealed(folder, tally=msgspec.structs.replace(tally, **change))
    (line,) = verify(folder)
    assert "rows read are not rows kept + duplicates + refused" in line


# --- concepts and removals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 2.0, np.nan, np.inf])
def test_a_concept_whose_vector_is_not_a_unit_vector(folder: Path, value: float) -> None:
    path = change_array(folder / "concept-vectors-00000.npy", put((1, slice(None)), value))
    assert list(verify(folder)) == [f"{path}: 1 rows are not unit vectors, first at 1"]


def test_the_words_of_these_tests(thinned: Path) -> None:
    concepts = open_index(thinned).concepts
    assert concepts.words(range(3)) == ["cat", "dog", "sea"]
    assert concepts.counts.tolist() == [3, 3, 2]
    assert [concepts.of_row(row).tolist() for row in range(9)] == [[1], [0], [2]] * 3


def test_ids_that_are_wrong(thinned: Path) -> None:
    path = change_table(thinned / "concepts-00000.parquet", lambda columns: put(slice(1, 3), [2, 1])(columns["id"]))
    assert list(verify(thinned)) == [f"{path}: ids are not 0 to 2 in order"]


def test_a_concept_twice(thinned: Path) -> None:
    path = change_table(thinned / "concepts-00000.parquet", lambda columns: put(2, "dog")(columns["text"]))
    assert list(verify(thinned)) == [f"{path}: a concept occurs twice"]


def test_another_word(thinned: Path) -> None:
    change_table(thinned / "concepts-00000.parquet", lambda columns: put(2, "ocean")(columns["text"]))
    path = thinned / "links.0001.npy"
    assert list(verify(thinned)) == [f"{path}: not the concepts of the captions in captions-00000.parquet"]


@pytest.mark.parametrize("kind", ["", "verb"])
def test_a_kind_that_is_none(thinned: Path, kind: str) -> None:
    path = change_table(thinned / "concepts.0002.parquet", lambda columns: put(1, kind)(columns["kind"]))
    assert list(verify(thinned)) == [f"{path}: a concept of the kind {kind!r}"]


def test_counts_of_concepts_that_cannot_be(thinned: Path) -> None:
    path = change_table(thinned / "concepts.0002.parquet", lambda columns: put(1, 4)(columns["count"]))
    assert list(verify(thinned)) == [f"{path}: 1 concepts have wrong counts, first 1"]
    change_table(path, lambda columns: (put(1, 0)(columns["count"]), put(1, "")(columns["kind"])))
    assert list(verify(thinned)) == [f"{path}: 2 concepts may be said, the manifest says 3"]
    change_table(path, lambda columns: put(1, 3)(columns["count"]))
    assert list(verify(thinned)) == [f"{path}: a concept of the kind ''"]


def test_concepts_that_the_manifest_does_not_count(thinned: Path) -> None:
    concepts = open_index(thinned).manifest.concepts
    resealed(thinned, concepts=msgspec.structs.replace(concepts, current=2))
    path = thinned / "concepts.0002.parquet"
    assert list(verify(thinned)) == [f"{path}: 3 concepts may be said, the manifest says 2"]


def test_a_removal_that_the_counts_do_not_know(thinned: Path) -> None:
    change_array(thinned / "removed.0002.npy", put(0, 7))  # of two cats
    path = thinned / "concepts.0002.parquet"
    assert list(verify(thinned)) == [f"{path}: 2 concepts have wrong counts, first 0"]


@pytest.mark.parametrize("rows", [[-1], [9], [3, 3], [4, 3]])
def test_removed_rows_that_cannot_be(thinned: Path, rows: list[int]) -> None:
    path = thinned / "removed.0002.npy"
    np.save(path, np.array(rows, "<i8"))
    consistent(thinned)
    assert list(verify(thinned)) == [f"{path}: not ascending rows of this index"]


@pytest.mark.parametrize(
    ("name", "place", "value", "line"),
    [
        ("starts", 0, 1, "from 1 to 9, but there are 9 links"),
        ("starts", 9, 8, "from 0 to 8, but there are 9 links"),
        ("starts", 3, 1, "not ascending from row 0 to row 4"),
        ("starts", 5, 99, "not ascending from row 4 to row 8"),
        ("links", 3, 3, "links of row 0 or later are not ids of concepts"),
        ("links", 3, -1, "links of row 0 or later are not ids of concepts"),
        ("links", 3, 0, "not the concepts of the captions in captions-00000.parquet"),
        ("starts", 5, 6, "not the concepts of the captions in captions-00001.parquet"),
    ],
)
def test_links_that_cannot_be(thinned: Path, name: str, place: int, value: int, line: str) -> None:
    path = change_array(thinned / f"{name}.0001.npy", put(place, value))
    if "captions-00001" in line:  # where links begin and what they are can only be wrong together
        path = thinned / "links.0001.npy"
    assert list(verify(thinned)) == [f"{path}: {line}"]


def test_a_measurement_that_is_none(thinned: Path) -> None:
    path = thinned / "quality.0001.json"
    path.write_text("{}")
    consistent(thinned)
    (line,) = verify(thinned)
    assert line.startswith(f"{path}: not a measurement of the search index (")


def test_whatever_a_writer_did_verify_says_lines(thinned: Path) -> None:
    """Files that are damaged, and a manifest that agrees with them: a line, or harmless, and never another error."""
    sound = contents(thinned)
    rng = random.Random(0)
    found = 0
    for name in EVERY_KIND:
        if name == "manifest.json":
            continue
        for _ in range(12):
            damaged = bytearray(sound[name])
            damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
            (thinned / name).write_bytes(damaged)
            consistent(thinned)
            lines = list(verify(thinned))
            assert all(str(thinned) in line for line in lines)
            found += bool(lines)
        (thinned / name).write_bytes(sound[name])
    assert found > 40


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_says_sound_or_damaged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: sound (9 rows, 15 files)\n"

    path = folder / "vectors-00000.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert main(["verify", str(folder.parent)]) == 1
    assert capsys.readouterr().out.startswith(f"damaged: {path}: SHA-256 ")


def test_the_command_verifies_every_index_of_a_folder(
    build_index_of: Builder, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (build_index_of(CAPTIONS, name=name).folder for name in ("first", "second"))
    (first / "counts.0001.npy").unlink()
    assert main(["verify", str(first.parent)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"damaged: {first / 'counts.0001.npy'}: No such file")
    assert said[1:] == [f"{second}: sound (9 rows, 11 files)"]


@pytest.mark.parametrize(
    ("action", "code", "said"), [("verify", 2, ": sound (9 rows"), ("info", 2, "  rows       9 in")]
)
def test_one_index_that_cannot_be_read_does_not_hide_the_others(
    build_index_of: Builder, capsys: pytest.CaptureFixture[str], action: str, code: int, said: str
) -> None:
    first, second, third = (build_index_of(CAPTIONS, name=name).folder for name in ("first", "second", "third"))
    newer = (first / "manifest.json").read_text("utf-8").replace('"version": 1', '"version": 2')
    (first / "manifest.json").write_text(newer, "utf-8")
    (second / "vectors-00000.npy").unlink()
    assert main([action, str(first.parent)]) == code
    output = capsys.readouterr()
    errors = [line.split(": ")[1] for line in (output.err + output.out).splitlines() if line.startswith(("err", "dam"))]
    assert errors == [str(first / "manifest.json"), str(second / "vectors-00000.npy")]
    assert str(third) in output.out
    assert said in output.out


def test_the_command_refuses_what_is_no_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'none'}: no such folder")


def test_info_says_what_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder)]) == 0
    said = capsys.readouterr().out
    for fact in (
        "rows       9 in 3 parts, ",
        "removed    0\n",
        "words      3 concepts\n",
        "encoder    LetterCounter/letters, 27-d, text weights sha256:letters…",
        "search     flat, inner_product, recall@9 1.000 measured\n",
        "read       11 = 9 kept + 1 duplicates + 1 null refused",
        "corpus.parquet",
    ):
        assert fact in said


def test_info_refuses_a_damaged_index(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "quality.0001.json").write_bytes(b"?" * (folder / "quality.0001.json").stat().st_size)
    assert main(["info", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {folder / 'quality.0001.json'}: not a measurement")
    assert said.out == ""
    (folder / "counts.0001.npy").unlink()
    assert main(["info", str(folder)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {folder / 'counts.0001.npy'}: ")
    with pytest.raises(ShardDamaged):
        open_index(folder)

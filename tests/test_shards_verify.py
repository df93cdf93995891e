"""`verify` finds every byte that changed, and every promise that a writer broke."""

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
from shards.manifest import load
from shards.writer import text_hash

CAPTIONS = [f"caption {number} of {word}" for number in range(3) for word in ("a dog", "two cats", "the sea")]


@pytest.fixture
def folder(build_index_of: Builder) -> Path:
    return build_index_of([*CAPTIONS, CAPTIONS[0], None], rows_per_part=4).folder


def defects(folder: Path) -> list[str]:
    """What is found, where a version that nobody knows counts as a find as well."""
    try:
        return list(verify(folder))
    except UnsupportedVersion as error:
        return [str(error)]


def test_a_sound_index_has_no_defects(folder: Path) -> None:
    assert list(verify(folder)) == []


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_a_flipped_byte_in_any_file_is_found(folder: Path) -> None:
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


def test_any_flipped_byte_of_the_manifest_is_found(folder: Path) -> None:
    path = folder / "manifest.json"
    sound = path.read_bytes()
    for place in range(len(sound)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert str(path) in "".join(defects(folder)), place


def test_missing_cut_and_longer_files_are_found(folder: Path) -> None:
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


def test_every_damaged_file_is_named(folder: Path) -> None:
    names = [file.name for file in open_index(folder).manifest.files()]
    for name in names:
        with (folder / name).open("r+b") as stream:
            stream.write(b"damage")
    assert [line.split(":")[0] for line in verify(folder)] == [str(folder / name) for name in names]


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
    content = load(folder)
    parts = [
        msgspec.structs.replace(
            part,
            captions=file_info(folder / part.captions.name),
            vectors=file_info(folder / part.vectors.name),
        )
        for part in content.parts
    ]
    index = msgspec.structs.replace(content.index, file=file_info(folder / content.index.file.name))
    resealed(folder, parts=parts, counts=file_info(folder / content.counts.name), index=index)


def change_vectors(folder: Path, change: Callable[[np.ndarray[Any, Any]], object]) -> Path:
    path = folder / "vectors-00001.npy"
    vectors = np.load(path)
    change(vectors)
    np.save(path, vectors)
    consistent(folder)
    return path


def change_captions(folder: Path, change: Callable[[dict[str, list[Any]]], object]) -> Path:
    path = folder / "captions-00001.parquet"
    table = pq.read_table(path)
    columns = table.to_pydict()
    change(columns)
    pq.write_table(pa.table(columns, schema=table.schema), path)
    consistent(folder)
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
        table.cast(pa.schema([*list(table.schema)[:3], ("source", pa.int64())])),
    ):
        pq.write_table(other, path)
        consistent(folder)
        (line,) = verify(folder)
        assert line.startswith(f"{path}: columns {other.schema.names}, expected")


def test_captions_that_are_no_parquet(folder: Path) -> None:
    path = folder / "captions-00001.parquet"
    path.write_bytes(b"not parquet")
    consistent(folder)
    (line,) = verify(folder)
    assert line.startswith(f"{path}: not readable as parquet")


def test_vectors_of_another_shape(folder: Path) -> None:
    path = folder / "vectors-00001.npy"
    np.save(path, np.load(path)[:3])
    consistent(folder)
    (line,) = verify(folder)
    assert line == f"{path}: float16 [3, 27], expected float16 [4, 27] in C order"


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


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_says_sound_or_damaged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: sound (9 rows, 9 files)\n"

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
    assert said[1:] == [f"{second}: sound (9 rows, 5 files)"]


def test_the_command_refuses_what_is_no_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'none'}: no such folder")


def test_info_says_what_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder)]) == 0
    said = capsys.readouterr().out
    for fact in (
        "rows       9 in 3 parts, ",
        "encoder    LetterCounter/letters, 27-d, text weights sha256:letters…",
        "search     flat, inner_product",
        "read       11 = 9 kept + 1 duplicates + 1 null refused",
        "corpus.parquet",
    ):
        assert fact in said


def test_info_refuses_a_damaged_index(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "counts.0001.npy").unlink()
    assert main(["info", str(folder)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {folder / 'counts.0001.npy'}: ")
    with pytest.raises(ShardDamaged):
        open_index(folder)

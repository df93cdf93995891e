"""What `open_index` refuses: each kind of damage by its own error, which names the file; and where no index is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from conftest import resealed
from test_shards_format import every_name

from shards import (
    Index,
    NoIndex,
    ShardDamaged,
    UnsupportedVersion,
    manifest,
    open_index,
)

# --- damage, one kind each -------------------------------------------------------------------------------------------


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change a folder's manifest as plain JSON, whether it still is a manifest or not, digest included."""
    path = folder / "manifest.json"
    content = json.loads(path.read_bytes())
    change(content)
    blank = json.dumps({**content, "digest": ""}, indent=2, ensure_ascii=False) + "\n"
    content["digest"] = manifest.digest(blank.encode())
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return path


def refusal(folder: Path, error: type[Exception], path: Path) -> str:
    """What `open_index` says, once it is known to be this error and to name the path."""
    with pytest.raises(error) as caught:
        open_index(folder)
    assert type(caught.value) is error
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_an_unchanged_manifest_survives_the_helpers_of_these_tests(folder: Path) -> None:
    before = (folder / "manifest.json").read_bytes()
    resealed(folder)
    rewritten(folder, lambda content: None)
    assert (folder / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("version", [0, 2, -1, 10**20])
def test_another_version(folder: Path, version: int) -> None:
    path = rewritten(folder, lambda content: content.update(version=version))
    said = refusal(folder, UnsupportedVersion, path)
    assert f"format version {version}, this program reads version 1" in said


@pytest.mark.parametrize("version", [None, "1", 1.0, True, [1]])
def test_a_version_that_is_no_number(folder: Path, version: object) -> None:
    path = rewritten(folder, lambda content: content.update(version=version))
    assert "not a whole number" in refusal(folder, ShardDamaged, path)


def test_another_format(folder: Path) -> None:
    path = rewritten(folder, lambda content: content.update(format="mds"))
    assert 'no "format": "shards"' in refusal(folder, ShardDamaged, path)


@pytest.mark.parametrize("data", [b"[]", b"1", b'"shards"', b"null", b"{}"])
def test_json_that_is_no_manifest(folder: Path, data: bytes) -> None:
    (folder / "manifest.json").write_bytes(data)
    assert "not a manifest of this format" in refusal(folder, ShardDamaged, folder / "manifest.json")


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe{}", b'{"format": "shards\xe9"}', b"\x00" * 100, b"[" * 100_000],
    ids=["empty", "cut off", "UTF-16 mark", "Latin-1", "zeros", "a tower of brackets"],
)
def test_not_json_in_utf_8(folder: Path, data: bytes) -> None:
    (folder / "manifest.json").write_bytes(data)
    assert "not valid JSON" in refusal(folder, ShardDamaged, folder / "manifest.json")


def test_half_a_surrogate_pair(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"name": "corpus"', b'"name": "\\ud800"'))
    assert "surrogates not allowed" in refusal(folder, ShardDamaged, path)


def test_a_missing_field(folder: Path) -> None:
    path = rewritten(folder, lambda content: content.pop("tally"))
    assert "missing required field `tally`" in refusal(folder, ShardDamaged, path)


def test_an_unknown_field(folder: Path) -> None:
    path = rewritten(folder, lambda content: content["parts"][0].update(shadow="x"))
    assert "unknown field `shadow`" in refusal(folder, ShardDamaged, path)


def test_a_field_of_another_type(folder: Path) -> None:
    path = rewritten(folder, lambda content: content.update(rows="5"))
    assert "Expected `int`, got `str`" in refusal(folder, ShardDamaged, path)


def test_the_same_content_in_other_bytes(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes())), "utf-8")
    assert "does not match its own digest" in refusal(folder, ShardDamaged, path)


def test_content_that_the_digest_does_not_know(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"name": "corpus"', b'"name": "Corpus"'))
    assert "does not match its own digest" in refusal(folder, ShardDamaged, path)


def test_a_key_twice(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'  "rows": 5,', b'  "rows": 5,\n  "rows": 5,', 1))
    assert "does not match its own digest" in refusal(folder, ShardDamaged, path)


def file_places(content: Any) -> list[dict[str, Any]]:
    """Everything in a manifest, as plain JSON, that names a file."""
    if isinstance(content, list):
        return [place for value in content for place in file_places(value)]
    if not isinstance(content, dict):
        return []
    return [content] if set(content) == {"name", "bytes", "sha256"} else file_places(list(content.values()))


@pytest.mark.parametrize("name", ["../manifest.json", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "a\0b"])
def test_a_name_that_leaves_the_folder(thinned: Path, name: str) -> None:
    sound = (thinned / "manifest.json").read_bytes()
    places = range(len(file_places(json.loads(sound))))
    assert len(places) == len(every_name(thinned))
    for place in places:
        path = rewritten(thinned, lambda content, place=place: file_places(content)[place].update(name=name))
        assert f"{name!r} is not a plain file name" in refusal(thinned, ShardDamaged, path)
        path.write_bytes(sound)


@pytest.mark.parametrize("first_rows", [(1, 3, 5), (0, 3, 4), (0, 2, 3), (0, 4, 2), (-2, 0, 2)])
def test_parts_that_are_not_contiguous(folder: Path, first_rows: tuple[int, ...]) -> None:
    parts = open_index(folder).manifest.parts
    moved = [msgspec.structs.replace(part, first_row=row) for part, row in zip(parts, first_rows, strict=True)]
    path = resealed(folder, parts=moved)
    assert "should start at row" in refusal(folder, ShardDamaged, path)


@pytest.mark.parametrize("rows", [0, -1])
def test_a_part_without_rows(folder: Path, rows: int) -> None:
    parts = open_index(folder).manifest.parts
    path = resealed(folder, parts=[*parts, msgspec.structs.replace(parts[0], first_row=5, rows=rows)])
    refusal(folder, ShardDamaged, path)


def test_no_parts(folder: Path) -> None:
    path = resealed(folder, parts=[], rows=0)
    assert "no parts" in refusal(folder, ShardDamaged, path)


def test_rows_that_the_parts_do_not_hold(folder: Path) -> None:
    path = resealed(folder, rows=6)
    assert "parts hold 5 rows, the manifest says 6" in refusal(folder, ShardDamaged, path)


@pytest.mark.parametrize(
    ("first_ids", "rows", "message"),
    [
        ((1,), (5,), "part at concept 1 should start at concept 0"),
        ((0, 4), (5, 1), "part at concept 4 should start at concept 5"),
        ((0, 5), (5, 0), "part at concept 5 should start at concept 5"),
        ((0,), (6,), "parts hold 6 concepts, the manifest says 5"),
        ((), (), "parts hold 0 concepts, the manifest says 5"),
    ],
)
def test_concepts_that_are_not_contiguous(
    folder: Path, first_ids: tuple[int, ...], rows: tuple[int, ...], message: str
) -> None:
    concepts = open_index(folder).manifest.concepts
    (part,) = concepts.parts
    parts = [
        msgspec.structs.replace(part, first_id=first, rows=size) for first, size in zip(first_ids, rows, strict=True)
    ]
    path = resealed(folder, concepts=msgspec.structs.replace(concepts, parts=parts))
    assert message in refusal(folder, ShardDamaged, path)


def test_another_metric(folder: Path) -> None:
    index = open_index(folder).manifest.index
    path = resealed(folder, index=msgspec.structs.replace(index, metric="l2"))
    assert "'l2', expected 'inner_product'" in refusal(folder, ShardDamaged, path)


def test_a_missing_file(thinned: Path) -> None:
    for name in every_name(thinned):
        data = (thinned / name).read_bytes()
        (thinned / name).unlink()
        assert "No such file" in refusal(thinned, ShardDamaged, thinned / name)
        (thinned / name).write_bytes(data)
    open_index(thinned)


def test_a_file_of_another_size(thinned: Path) -> None:
    for name in every_name(thinned):
        data = (thinned / name).read_bytes()
        for wrong in (data + b"\0", data[:-1], b""):
            (thinned / name).write_bytes(wrong)
            said = refusal(thinned, ShardDamaged, thinned / name)
            assert f"{len(wrong)} bytes, the manifest says {len(data)}" in said
        (thinned / name).write_bytes(data)
    open_index(thinned)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((2, 26), "<f2"), "float16 [2, 26]"),
        (np.zeros((27, 2), "<f2"), "float16 [27, 2]"),
        (np.zeros((54,), "<f2"), "float16 [54]"),
        (np.zeros((2, 27), "<f4"), "float32 [2, 27]"),
        (np.zeros((2, 27), ">f2"), ">f2 [2, 27]"),
        (np.zeros((2, 27), "<f2", order="F"), "float16 [2, 27]"),
    ],
    ids=["dimension", "transposed", "flat", "float32", "big-endian", "Fortran order"],
)
def test_vectors_of_another_layout(folder: Path, array: np.ndarray[Any, Any], found: str) -> None:
    path = folder / "vectors-00000.npy"
    np.save(path, array)
    resize(folder, path)
    assert f"{found}, expected float16 [2, 27] in C order" in refusal(folder, ShardDamaged, path)


def resize(folder: Path, path: Path) -> None:
    """Let the manifest agree with the size of a file that was changed."""

    def change(content: dict[str, Any]) -> None:
        (place,) = (place for place in file_places(content) if place["name"] == path.name)
        place["bytes"] = path.stat().st_size

    rewritten(folder, change)


READS: dict[str, Callable[[Index], Any]] = {
    "vectors-00000.npy": lambda index: index.vectors([0, 1]),
    "counts.0001.npy": lambda index: index.counts(),
    "removed.0002.npy": lambda index: index.removed,
    "concept-vectors-00000.npy": lambda index: index.concepts.vectors(range(5)),
    "starts.0001.npy": lambda index: np.concatenate([index.concepts.of_row(row) for row in range(5)]),
    "links.0001.npy": lambda index: np.concatenate([index.concepts.of_row(row) for row in range(5)]),
}
"""What a reader takes from each array."""


@pytest.mark.parametrize("name", READS)
def test_a_header_with_any_wrong_byte_is_refused_or_harmless(thinned: Path, name: str) -> None:
    path = thinned / name
    sound = path.read_bytes()
    random = np.random.default_rng(0)
    content = open_index(thinned).manifest
    values = READS[name](Index(thinned, content)).copy()
    refusals = []
    places = range(0, 128, 1 if name == "vectors-00000.npy" else 4)
    for place in places:
        for byte in {0, 10, 32, 39, 40, 255, *random.integers(256, size=4).tolist()}:
            with path.open("r+b") as file:  # written over: a file that is emptied first goes to the disk each time
                file.write(sound[:place] + bytes([byte]) + sound[place + 1 :])
            try:
                found = READS[name](Index(thinned, content))
            except ShardDamaged as error:  # anything else fails the test
                refusals.append(str(error))
            else:
                np.testing.assert_array_equal(found, values)
    assert len(refusals) > 5.5 * len(places)
    assert all(str(path) in said for said in refusals)


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("kind", ["pickle", "zip", "text", "zeros"])
def test_an_array_that_is_no_npy(thinned: Path, kind: str, name: str) -> None:
    path = thinned / name
    size = path.stat().st_size
    data = {"pickle": b"\x80\x04N.", "zip": b"PK\x03\x04", "text": b"vectors", "zeros": b""}[kind]
    path.write_bytes(data.ljust(size, b"\0"))
    with pytest.raises(ShardDamaged, match=f"{path}: not readable as .npy"):
        READS[name](open_index(thinned))


@pytest.mark.parametrize("name", READS)
def test_an_array_of_another_type_or_shape(thinned: Path, name: str) -> None:
    path = thinned / name
    array = np.load(path)
    for wrong in (array.astype(array.dtype.newbyteorder()), array.astype("<f8"), array[None], array[..., :0]):
        np.save(path, wrong)
        resize(thinned, path)
        if wrong.size == 0 and name in ("removed.0002.npy", "links.0001.npy"):
            continue  # of any length; what that means for the rest is for `verify` to say
        with pytest.raises(ShardDamaged, match=f"{path}: .*, expected .* in C order"):
            READS[name](open_index(thinned))


def test_nothing_is_unpickled(folder: Path) -> None:
    path = folder / "vectors-00000.npy"
    np.save(path, np.array([[print]], object), allow_pickle=True)
    resize(folder, path)
    refusal(folder, ShardDamaged, path)


# --- no index --------------------------------------------------------------------------------------------------------


def test_no_folder(tmp_path: Path) -> None:
    assert "no such folder; build an index" in refusal(tmp_path / "none", NoIndex, tmp_path / "none")


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "no index here" in refusal(tmp_path, NoIndex, tmp_path)


def test_an_unfinished_build(folder: Path) -> None:
    (folder / "manifest.json").rename(folder / "plan.json")
    assert "unfinished build" in refusal(folder, NoIndex, folder)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refusal(tmp_path / "file", NoIndex, tmp_path / "file")


def test_a_folder_is_no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()
    refusal(folder, NoIndex, folder / "manifest.json")

"""The format: what is written comes back, always as the same bytes, and each kind of damage is named."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Builder, LetterCounter, contents, letters, resealed
from hypothesis import given
from hypothesis import strategies as st

import shards
from shards import EncoderMismatch, Manifest, NoIndex, ShardDamaged, UnsupportedVersion, layout, manifest, open_index
from shards.files import write_bytes
from shards.manifest import FileInfo, IndexInfo, PartInfo, SourceInfo, Tally
from shards.writer import text_hash

CAPTIONS = ["a dog", "two cats", "A dog", "a café by the sea", "a dog", "zebra"]
FORMAT_MD = (Path(shards.__file__).parent / "FORMAT.md").read_text("utf-8")


@pytest.fixture
def folder(build_index_of: Builder) -> Path:
    return build_index_of(CAPTIONS, rows_per_part=2).folder


# --- round trips -----------------------------------------------------------------------------------------------------


def test_what_was_written_comes_back(folder: Path) -> None:
    index = open_index(folder)
    assert index.manifest.rows == 5
    assert [part.rows for part in index.manifest.parts] == [2, 2, 1]
    assert index.captions(range(5)) == ["a dog", "two cats", "A dog", "a café by the sea", "zebra"]
    assert index.counts().tolist() == [2, 1, 1, 1, 1]
    expected = [letters(a=1, d=1, o=1, g=1, rest=1), letters(t=2, w=1, o=1, c=1, a=1, s=1, rest=1)]
    np.testing.assert_allclose(index.vectors([0, 1]), expected, atol=5e-4)  # float16


def test_the_captions_file_says_row_text_hash_and_source(folder: Path) -> None:
    table = pq.read_table(folder / "captions-00001.parquet")
    assert table["row"].to_pylist() == [2, 3]
    assert table["text"].to_pylist() == ["A dog", "a café by the sea"]
    assert table["hash"].to_pylist() == [text_hash("A dog"), text_hash("a café by the sea")]
    assert table["source"].to_pylist() == [0, 0]


def test_vectors_are_little_endian_float16_in_npy_version_1(folder: Path) -> None:
    data = (folder / "vectors-00000.npy").read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    assert b"'descr': '<f2', 'fortran_order': False, 'shape': (2, 27)" in data
    values = np.frombuffer(data[-2 * 2 * 27 :], "<f2").reshape(2, 27)
    np.testing.assert_array_equal(values, LetterCounter().encode(["a dog", "two cats"]).astype("<f2"))


def test_two_builds_are_the_same_bytes(build_index_of: Builder, tmp_path: Path) -> None:
    first = contents(build_index_of(CAPTIONS, rows_per_part=2).folder)
    (tmp_path / "shards").rename(tmp_path / "before")
    assert contents(build_index_of(CAPTIONS, rows_per_part=2).folder) == first


def test_a_finished_folder_holds_the_manifest_and_what_it_names(folder: Path) -> None:
    named = {file.name for file in open_index(folder).manifest.files()}
    assert set(contents(folder)) == named | {"manifest.json"}


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def log_fsync(descriptor: int) -> None:
        events.append(("flush", Path(f"/proc/self/fd/{descriptor}").resolve().name))
        fsync(descriptor)

    def log_replace(path: Path, target: Path) -> Path:
        events.append(("rename", target.name))
        return replace(path, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not tell which file a descriptor is")
    monkeypatch.setattr(os, "fsync", log_fsync)
    monkeypatch.setattr(Path, "replace", log_replace)
    info = write_bytes(tmp_path / "a.bin", b"abc")
    assert events == [("flush", "a.bin.partial"), ("rename", "a.bin"), ("flush", tmp_path.name)]
    assert info == FileInfo(name="a.bin", bytes=3, sha256=hashlib.sha256(b"abc").hexdigest())
    assert contents(tmp_path) == {"a.bin": b"abc"}


# --- the manifest's bytes --------------------------------------------------------------------------------------------


def small(**changes: Any) -> Manifest:
    """A manifest of one part and two rows."""
    file = FileInfo(name="captions-00000.parquet", bytes=10, sha256="00" * 32)
    content = Manifest(
        format="shards",
        version=1,
        name="Straße",
        generation=1,
        rows=2,
        writer="a test",
        preset="default",
        encoder=LetterCounter().identity,
        parts=[PartInfo(first_row=0, rows=2, captions=file, vectors=msgspec.structs.replace(file, name="v"))],
        counts=msgspec.structs.replace(file, name="counts"),
        index=IndexInfo(kind="flat", metric="inner_product", file=msgspec.structs.replace(file, name="faiss")),
        sources=[SourceInfo(uri="a.parquet", fingerprint="sha256:77", rows=2, complete=True)],
        tally=Tally(read=2, kept=2, duplicates=0, refused={}),
        settings="sha256:51",
        digest="",
    )
    return msgspec.structs.replace(content, **changes)


def test_a_manifest_is_exactly_these_bytes() -> None:
    data = manifest.to_bytes(small())
    lines = data.decode("utf-8").split("\n")
    assert lines[:6] == [
        "{",
        '  "format": "shards",',
        '  "version": 1,',
        '  "name": "Straße",',
        '  "generation": 1,',
        '  "rows": 2,',
    ]
    assert lines[-4:] == ['  "settings": "sha256:51",', '  "digest": ""', "}", ""]
    assert data == json.dumps(json.loads(data), indent=2, ensure_ascii=False).encode() + b"\n"


def test_the_digest_is_that_of_the_manifest_without_it() -> None:
    sealed = small().sealed()
    assert sealed.digest == manifest.digest(manifest.to_bytes(small()))
    assert msgspec.structs.replace(sealed, digest="") == small()


@given(st.text(), st.integers(2, 2**62), st.dictionaries(st.text(), st.integers(0, 2**62)))
def test_any_manifest_comes_back(name: str, number: int, refused: dict[str, int]) -> None:
    tally = Tally(read=number, kept=number, duplicates=0, refused=refused)
    sealed = small(name=name, generation=number, tally=tally).sealed()
    assert manifest.from_bytes(manifest.to_bytes(sealed), Path("m")) == sealed


# --- FORMAT.md -------------------------------------------------------------------------------------------------------


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", FORMAT_MD, re.DOTALL)
    return str(found)


def test_the_reader_in_the_specification_reads(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = block("python")
    assert program.count('"shards/cc3m"') == 1
    assert len([line for line in program.splitlines() if line]) <= 11
    names: dict[str, Any] = {}
    exec(program.replace('"shards/cc3m"', repr(str(folder))), names)
    index = open_index(folder)
    assert names["captions"] == index.captions(range(5))
    np.testing.assert_array_equal(names["vectors"], index.vectors(range(5)))
    assert capsys.readouterr().out in ("a dog\n", "A dog\n")  # the two have one vector


def shape_of(content: Any) -> Any:
    """The names of a JSON document in order, and the types of its values."""
    if isinstance(content, dict):
        return [(name, shape_of(value)) for name, value in content.items()]
    if isinstance(content, list):
        return [shape_of(content[0])]
    return type(content)


def test_the_manifest_in_the_specification_is_like_a_real_one(folder: Path) -> None:
    example = json.loads(block("json"))
    real = json.loads((folder / "manifest.json").read_bytes())
    assert shape_of(example) == shape_of(real)
    parsed = msgspec.convert(example, Manifest)
    assert parsed.tally.balanced
    assert parsed.rows == sum(part.rows for part in parsed.parts)
    assert all(layout.is_ours(file.name) for file in parsed.files())


def test_the_specification_names_every_file_of_a_real_index(folder: Path) -> None:
    for name in contents(folder):
        of_part_0 = re.sub(r"-\d{5}", "-00000", name)
        assert of_part_0 in FORMAT_MD


def test_every_error_of_the_specification_exists() -> None:
    for name in re.findall(r"^\| `(\w+)` \|", FORMAT_MD, re.MULTILINE):
        assert issubclass(getattr(shards, name), shards.ShardError)


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


@pytest.mark.parametrize("name", ["../manifest.json", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "a\0b"])
@pytest.mark.parametrize("place", ["captions", "vectors", "counts", "index"])
def test_a_name_that_leaves_the_folder(folder: Path, name: str, place: str) -> None:
    def change(content: dict[str, Any]) -> None:
        files = {**content["parts"][0], "counts": content["counts"], "index": content["index"]["file"]}
        files[place]["name"] = name

    path = rewritten(folder, change)
    assert f"{name!r} is not a plain file name" in refusal(folder, ShardDamaged, path)


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


def test_another_metric(folder: Path) -> None:
    index = open_index(folder).manifest.index
    path = resealed(folder, index=msgspec.structs.replace(index, metric="l2"))
    assert "'l2', expected 'inner_product'" in refusal(folder, ShardDamaged, path)


def test_a_missing_file(folder: Path) -> None:
    for name in ("vectors-00001.npy", "counts.0001.npy", "captions.0001.faiss"):
        data = (folder / name).read_bytes()
        (folder / name).unlink()
        assert "No such file" in refusal(folder, ShardDamaged, folder / name)
        (folder / name).write_bytes(data)
    open_index(folder)


def test_a_file_of_another_size(folder: Path) -> None:
    for name in ("vectors-00001.npy", "counts.0001.npy", "captions.0001.faiss"):
        data = (folder / name).read_bytes()
        for wrong in (data + b"\0", data[:-1], b""):
            (folder / name).write_bytes(wrong)
            said = refusal(folder, ShardDamaged, folder / name)
            assert f"{len(wrong)} bytes, the manifest says {len(data)}" in said
        (folder / name).write_bytes(data)
    open_index(folder)


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
    """Let the manifest agree with the size of a vectors file that was changed."""
    parts = [
        msgspec.structs.replace(
            part,
            vectors=msgspec.structs.replace(part.vectors, bytes=path.stat().st_size)
            if part.vectors.name == path.name
            else part.vectors,
        )
        for part in msgspec.convert(json.loads((folder / "manifest.json").read_bytes()), Manifest).parts
    ]
    resealed(folder, parts=parts)


def test_a_header_of_vectors_with_any_wrong_byte_is_refused_or_harmless(folder: Path) -> None:
    path = folder / "vectors-00000.npy"
    sound = path.read_bytes()
    random = np.random.default_rng(0)
    vectors = open_index(folder).vectors([0, 1])
    refused = 0
    for place in range(128):
        for byte in {0, 10, 32, 39, 40, 255, *random.integers(256, size=4).tolist()}:
            path.write_bytes(sound[:place] + bytes([byte]) + sound[place + 1 :])
            try:
                found = open_index(folder).vectors([0, 1])
            except ShardDamaged:  # anything else fails the test
                refused += 1
            else:
                np.testing.assert_array_equal(found, vectors)
    assert refused > 800


@pytest.mark.parametrize("kind", ["pickle", "zip", "text", "zeros"])
def test_vectors_that_are_no_npy(folder: Path, kind: str) -> None:
    path = folder / "vectors-00000.npy"
    size = path.stat().st_size
    data = {"pickle": b"\x80\x04N.", "zip": b"PK\x03\x04", "text": b"vectors", "zeros": b""}[kind]
    path.write_bytes(data.ljust(size, b"\0"))
    assert "not readable as .npy" in refusal(folder, ShardDamaged, path)


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


# --- encoder identity ------------------------------------------------------------------------------------------------

OURS = LetterCounter().identity


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "other"},
        {"text_digest": "sha256:other"},
        {"tokenizer": "other"},
        {"context_length": 64},
        {"prompt": "a photo of {}"},
        {"dimension": 28},
    ],
)
def test_an_identity_with_another_key_is_refused(change: dict[str, Any]) -> None:
    other = msgspec.structs.replace(OURS, **change)
    with pytest.raises(EncoderMismatch, match=r"shards/cc3m holds vectors of LetterCounter/letters, 27-d.*; this enc"):
        OURS.require(other, "shards/cc3m")


@pytest.mark.parametrize("change", [{"pretrained": None}, {"checkpoint": "x.pt"}, {"precision": "bf16"}])
def test_provenance_need_not_match(change: dict[str, Any]) -> None:
    OURS.require(msgspec.structs.replace(OURS, **change), "shards/cc3m")


# --- names -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**7), st.integers(1, 10**5))
def test_names_sort_like_their_numbers_and_are_ours(part: int, generation: int) -> None:
    names = [
        layout.captions_name(part),
        layout.vectors_name(part),
        layout.counts_name(generation),
        layout.faiss_name(generation),
    ]
    for name in names:
        assert layout.is_ours(name)
        assert layout.is_ours(name + layout.PARTIAL)
        assert layout.is_plain(name)
    assert layout.captions_name(41) < layout.captions_name(42) < layout.captions_name(99_999)


@pytest.mark.parametrize(
    "name", ["notes.2024.json", "laion.20240101.parquet", "captions-2024.parquet", "captions.json", "manifest.json.bak"]
)
def test_what_users_keep_in_a_folder_is_not_ours(name: str) -> None:
    assert not layout.is_ours(name)

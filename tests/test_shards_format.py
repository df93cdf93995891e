"""The format: what is written comes back, always as the same bytes, and is what the specification says."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import SIX, Builder, LetterCounter, contents, letters
from hypothesis import given
from hypothesis import strategies as st

import shards
from build_index.config import CONCEPT_PROMPTS
from shards import (
    EncoderMismatch,
    Manifest,
    layout,
    manifest,
    open_index,
)
from shards.files import write_bytes
from shards.manifest import ConceptPartInfo, ConceptsInfo, FileInfo, IndexInfo, PartInfo, SourceInfo, Tally
from shards.parts import text_hash
from shards.removal import remove

FORMAT_MD = (Path(shards.__file__).parent / "FORMAT.md").read_text("utf-8")


def every_name(folder: Path) -> list[str]:
    """Names of all files but the manifest."""
    return [file.name for file in open_index(folder).manifest.files()]


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
    assert [[tuple(item.values()) for item in items] for items in table["concepts"].to_pylist()] == [
        [("dog", "noun")],
        [("café", "noun"), ("sea", "noun")],
    ]


def test_the_concepts_come_back(folder: Path) -> None:
    concepts = open_index(folder).concepts
    assert len(concepts) == 5
    assert concepts.words(range(5)) == ["café", "cat", "dog", "sea", "zebra"]
    assert concepts.kinds == ["noun"] * 5
    assert concepts.counts.tolist() == [1, 1, 2, 1, 1]
    assert [concepts.of_row(row).tolist() for row in range(5)] == [[2], [1], [2], [0, 3], [4]]
    mean = LetterCounter().encode([template.format("sea") for template in CONCEPT_PROMPTS]).mean(axis=0)
    np.testing.assert_allclose(concepts.vectors([3]), [mean / np.linalg.norm(mean)], atol=5e-4)
    (vectors,) = concepts.part_vectors()
    assert isinstance(vectors, np.memmap)


def test_the_concepts_files_say_id_text_kind_and_count(folder: Path) -> None:
    words = pq.read_table(folder / "concepts-00000.parquet")
    assert words.to_pydict() == {"id": [0, 1, 2, 3, 4], "text": ["café", "cat", "dog", "sea", "zebra"]}
    table = pq.read_table(folder / "concepts.0001.parquet")
    assert table.to_pydict() == {"kind": ["noun"] * 5, "count": [1, 1, 2, 1, 1]}
    for name, dtype, values in (("starts", "<i8", [0, 1, 2, 3, 5, 6]), ("links", "<i4", [2, 1, 2, 0, 3, 4])):
        data = (folder / f"{name}.0001.npy").read_bytes()
        assert data[:8] == b"\x93NUMPY\x01\x00"
        assert f"'descr': '{dtype}', 'fortran_order': False, 'shape': ({len(values)},)".encode() in data
        np.testing.assert_array_equal(np.load(folder / f"{name}.0001.npy"), np.array(values, dtype))


def test_a_removal_comes_back(thinned: Path) -> None:
    index = open_index(thinned)
    assert index.manifest.generation == 2
    assert index.removed.tolist() == [4]
    assert np.load(thinned / "removed.0002.npy").dtype == np.dtype("<i8")
    assert index.captions([4]) == ["zebra"]
    assert pq.read_table(thinned / "concepts.0002.parquet").to_pylist()[4] == {"kind": "", "count": 0}
    assert index.concepts.of_row(4).tolist() == [4]  # which is not to be said any more
    assert index.recall() == ", recall@5 1.000 measured"


def test_vectors_are_little_endian_float16_in_npy_version_1(folder: Path) -> None:
    data = (folder / "vectors-00000.npy").read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    assert b"'descr': '<f2', 'fortran_order': False, 'shape': (2, 27)" in data
    values = np.frombuffer(data[-2 * 2 * 27 :], "<f2").reshape(2, 27)
    np.testing.assert_array_equal(values, LetterCounter().encode(["a dog", "two cats"]).astype("<f2"))


def test_two_builds_are_the_same_bytes(build_index_of: Builder, tmp_path: Path) -> None:
    first = contents(build_index_of(SIX, rows_per_part=2).folder)
    (tmp_path / "shards").rename(tmp_path / "before")
    assert contents(build_index_of(SIX, rows_per_part=2).folder) == first


def test_a_finished_folder_holds_the_manifest_and_what_it_names(folder: Path) -> None:
    assert set(contents(folder)) == {*every_name(folder), "manifest.json"}
    remove(folder, None, "zebra")
    assert set(contents(folder)) == {*every_name(folder), "manifest.json"}
    assert len(every_name(folder)) == 6 + 1 + 2 + 3 + 1 + 2  # parts, counts, words, links, search, removed and quality


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
    """A manifest of one part and two rows, and three concepts."""

    def named(name: str) -> FileInfo:
        return FileInfo(name=name, bytes=10, sha256="00" * 32)

    content = Manifest(
        format="shards",
        version=1,
        name="Straße",
        generation=1,
        rows=2,
        writer="a test",
        preset="default",
        encoder=LetterCounter().identity,
        parts=[PartInfo(first_row=0, rows=2, captions=named("captions"), vectors=named("vectors"))],
        counts=named("counts"),
        concepts=ConceptsInfo(
            rows=3,
            current=2,
            parts=[ConceptPartInfo(first_id=0, rows=3, words=named("words"), vectors=named("concept-vectors"))],
            table=named("table"),
            starts=named("starts"),
            links=named("links"),
        ),
        index=IndexInfo(kind="flat", metric="inner_product", file=named("faiss")),
        removed=None,
        quality=named("quality"),
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


FILES = st.builds(
    FileInfo, name=st.text("abc.-0", min_size=3).filter(layout.is_plain), bytes=st.integers(0, 2**62), sha256=st.text()
)


@given(
    st.text(),
    st.integers(2, 2**62),
    st.dictionaries(st.text(), st.integers(0, 2**62)),
    st.none() | FILES,
    st.none() | FILES,
)
def test_any_manifest_comes_back(
    name: str, number: int, refused: dict[str, int], removed: FileInfo | None, quality: FileInfo | None
) -> None:
    tally = Tally(read=number, kept=number, duplicates=0, refused=refused)
    sealed = small(name=name, generation=number, tally=tally, removed=removed, quality=quality).sealed()
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
    assert parsed.rows == sum(part.rows for part in parsed.parts) == parsed.tally.kept
    assert parsed.concepts.rows == sum(part.rows for part in parsed.concepts.parts) >= parsed.concepts.current
    assert parsed.sources[0].rows == parsed.tally.read
    assert all(layout.is_ours(file.name) for file in parsed.files())


def test_the_manifest_in_the_specification_is_like_one_after_a_removal(thinned: Path) -> None:
    example = json.loads(block("json"))
    real = json.loads((thinned / "manifest.json").read_bytes())
    assert shape_of({**example, "removed": example["counts"]}) == shape_of(real)


def test_the_specification_names_every_file_of_a_real_index(thinned: Path) -> None:
    for name in contents(thinned):
        of_part_0 = re.sub(r"-\d{5}", "-00000", name)
        of_generation_1 = re.sub(r"\.\d{4}\.", ".0001.", of_part_0)
        assert re.search(rf"^  {re.escape(of_generation_1)} ", FORMAT_MD, re.MULTILINE)


def test_every_error_of_the_specification_exists() -> None:
    names = re.findall(r"^\| `(\w+)` \|", FORMAT_MD, re.MULTILINE)
    assert {"ShardDamaged", "IndexBusy", "PlanConflict"} < set(names)
    for name in names:
        assert issubclass(getattr(shards, name), shards.ShardError)


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


@pytest.mark.parametrize(
    "change", [{"pretrained": None}, {"checkpoint": "x.pt"}, {"precision": "bf16"}, {"concept_prompts": ["the {}"]}]
)
def test_provenance_need_not_match(change: dict[str, Any]) -> None:
    OURS.require(msgspec.structs.replace(OURS, **change), "shards/cc3m")


# --- names -----------------------------------------------------------------------------------------------------------


OF_A_PART = (layout.captions_name, layout.vectors_name, layout.concept_words_name, layout.concept_vectors_name)
OF_A_GENERATION = (
    ("captions", "faiss"),
    ("concepts", "parquet"),
    ("counts", "npy"),
    ("links", "npy"),
    ("quality", "json"),
    ("removed", "npy"),
    ("starts", "npy"),
)


@given(st.integers(0, 10**7), st.integers(1, 10**5))
def test_names_sort_like_their_numbers_and_are_ours(part: int, generation: int) -> None:
    names = [
        *(name(part) for name in OF_A_PART),
        *(layout.generation_name(what, generation, suffix) for what, suffix in OF_A_GENERATION),
    ]
    assert len(set(names)) == len(names)
    for name in (*names, layout.MANIFEST, layout.PLAN):
        assert layout.is_ours(name)
        assert layout.is_ours(name + layout.PARTIAL)
        assert not layout.is_ours(name + layout.PARTIAL * 2)
        assert not layout.is_ours("my-" + name)
        assert layout.is_plain(name)
    for name in OF_A_PART:
        assert name(41) < name(42) < name(99_999)


@pytest.mark.parametrize(
    "name",
    [
        "notes.2024.json",
        "laion.20240101.parquet",
        "captions-2024.parquet",
        "captions-0000007.parquet",
        "captions-00007.npy",
        "captions.json",
        "captions.0001.parquet",
        "concepts-00000.csv",
        "concepts.parquet",
        "concepts.0001.npy",
        "concept-vectors.npy",
        "concept-vectors-00000.parquet",
        "words-00000.parquet",
        "links.npy",
        "links.001.npy",
        "links.00001.npy",
        "starts.0001.json",
        "removed.0001.json",
        "quality.json",
        "quality.0001.npy",
        "quality-00000.json",
        "manifest.json.bak",
        "manifest.0001.json",
        "cased",
        layout.LOCK,
        "counts.0001.npy\n",
        "counts.\u0661\u0661\u0661\u0661.npy",
    ],
)
def test_what_users_keep_in_a_folder_is_not_ours(name: str) -> None:
    assert not layout.is_ours(name)

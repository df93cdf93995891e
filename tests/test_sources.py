"""Which files of captions are meant, here and on servers, and how a change of them is noticed."""

import gzip
import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from conftest import write_captions
from source_material import ROWS, as_csv, read, written

from build_index.cleaning import Refusal
from build_index.config import BuildConfig
from build_index.corpora import Source, corpus_name, find_sources
from build_index.errors import CorpusError
from build_index.intake import Reading
from build_index.sources import fingerprint, rows_to_read

# --- which files -----------------------------------------------------------------------------------------------------


def found(*corpus: str, **options: Any) -> list[str]:
    return [source.uri for source in find_sources(BuildConfig(corpus=corpus, **options))]


def test_a_file_a_folder_a_glob(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    first, second, third = (tmp_path / name for name in ("a.parquet", "b.csv.gz", "below/c.txt"))
    for path in (first, second, third, tmp_path / "readme.md"):
        path.touch()
    assert found(str(first)) == [str(first)]
    assert found(str(tmp_path)) == [str(first), str(second), str(third)]
    assert found(f"{tmp_path}/*.parquet") == [str(first)]
    assert found(f"{tmp_path}/**/*.txt") == [str(third)]
    assert found(str(second), str(tmp_path)) == [str(second), str(first), str(third)]  # each once, in the order asked
    assert found(str(tmp_path / "readme.md")) == [str(tmp_path / "readme.md")]  # asked for by name: reading refuses it
    with pytest.raises(CorpusError, match="unknown type of file; readable are csv, json, jsonl, ndjson, parquet, ts"):
        read(tmp_path / "readme.md")
    with pytest.raises(CorpusError, match="unknown type of file"):  # hf: is where data sets are, and no type of file
        read(written(tmp_path / "captions.hf", "a dog"))


def test_what_means_no_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no such file, folder or glob, and no preset \(presets: cc3m, cc12m, coco"):
        found(str(tmp_path / "none.parquet"))
    with pytest.raises(CorpusError, match="no captions below that folder"):
        found(str(tmp_path))
    with pytest.raises(CorpusError, match=r"img2dataset: give the folder with --data-dir"):
        found("img2dataset")
    with pytest.raises(CorpusError, match=r"no file of cc3m there \(looked for .*; found nothing\)"):
        found("cc3m", data_dir=tmp_path)


def test_a_preset_finds_its_files_and_knows_its_column(tmp_path: Path) -> None:
    path = write_captions(tmp_path / "00003.parquet", ROWS)
    (source,) = find_sources(BuildConfig(corpus=("img2dataset",), data_dir=tmp_path))
    assert source == Source(str(path), ("caption",))
    config = BuildConfig(corpus=("img2dataset",), data_dir=tmp_path, caption_column="url")
    assert find_sources(config) == [Source(str(path), ("url",), chosen=True)]


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("cc12m", "default/train/0000.parquet"),
        ("flickr30k", "TEST/test/0000.parquet"),
        ("flickr30k", "flickr_annotations_30k.csv"),
        ("cc3m", "Train_GCC-training.tsv.gz"),
        ("coco", "annotations/captions_train2017.json.xz"),
    ],
)
def test_a_preset_finds_copies_as_they_are_published(tmp_path: Path, corpus: str, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    (source,) = find_sources(BuildConfig(corpus=(corpus,), data_dir=tmp_path))
    assert source.uri == str(path)


def test_a_column_of_lines_of_text_is_refused(tmp_path: Path) -> None:
    lines, table = tmp_path / "lines.txt", tmp_path / "table.csv"
    lines.touch()
    table.touch()
    with pytest.raises(CorpusError, match=rf"--caption-column x: {lines} has no columns, every line is a caption"):
        found(str(lines), caption_column="x")
    assert found(str(lines), str(table), caption_column="x") == [str(lines), str(table)]


def test_captions_in_the_folder_of_the_index_are_refused(tmp_path: Path) -> None:
    """The writer deletes what looks like its own unfinished parts, and these look so."""
    path = write_captions(tmp_path / "captions" / "captions-00000.parquet", ROWS)
    with pytest.raises(CorpusError, match=f"{path}: lies in the folder that the index is written to"):
        found(str(path.parent), out=tmp_path)
    assert found(str(path.parent), out=tmp_path, name="other") == [str(path)]


def test_a_name_that_no_manifest_can_hold(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.txt"
    try:
        path.touch()
    except OSError:
        pytest.skip("this filesystem has no such names")
    with pytest.raises(CorpusError, match=r"'.*caf\\udce9\.txt': this name is not UTF-8"):
        found(str(tmp_path))


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("cc3m", "cc3m"),
        ("captions/tate_places.parquet", "tate_places"),
        ("captions/", "captions"),
        ("https://example.com/my captions.csv.gz?download=1", "my-captions"),
        ("data/*.parquet", "captions"),
    ],
)
def test_the_index_is_named_after_its_captions(corpus: str, name: str) -> None:
    assert corpus_name(BuildConfig(corpus=(corpus,))) == name
    assert corpus_name(BuildConfig(corpus=(corpus,), name="mine")) == "mine"


# --- remote ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder in fsspec's memory."""
    filesystem = fsspec.filesystem("memory")
    yield "memory://captions"
    filesystem.rm("/captions", recursive=True)


def test_memory(memory: str, tmp_path: Path) -> None:
    files = {"a.parquet": write_captions(tmp_path / "x", ROWS).read_bytes(), "b.txt.gz": gzip.compress(b"a\nb\n")}
    for name, data in files.items():
        with fsspec.open(f"{memory}/{name}", "wb") as stream:
            stream.write(data)
    assert found(f"{memory}/*") == ["memory:///captions/a.parquet", "memory:///captions/b.txt.gz"]
    assert [read(uri) for uri in found(f"{memory}/*")] == [(ROWS, []), (["a", "b"], [])]
    assert read(f"{memory}/a.parquet") == (ROWS, [])
    with pytest.raises(CorpusError, match="nothing there matches"):
        found(f"{memory}/*.csv")


def test_a_fingerprint_changes_with_the_content(memory: str, tmp_path: Path) -> None:
    def marks() -> list[str]:
        return [mark for _, mark in fingerprint([Source(f"{memory}/a.txt", ()), Source(str(tmp_path / "a.txt"), ())])]

    def put(text: str) -> None:
        (tmp_path / "a.txt").write_text(text)
        with fsspec.open(f"{memory}/a.txt", "w") as stream:
            stream.write(text)

    put("one")
    before = marks()
    assert before == marks()
    assert [mark.split(":")[0] for mark in before] == ["remote", "sha256"]
    put("three")
    assert all(now != then for now, then in zip(marks(), before, strict=True))


def test_a_source_that_cannot_be_opened(memory: str, tmp_path: Path) -> None:
    with fsspec.open(f"{memory}/there.txt", "w") as stream:
        stream.write("a")
    for uri in (f"{memory}/none.txt", str(tmp_path / "none.txt"), "nonsense://x/y.txt"):
        with pytest.raises(CorpusError, match=f"{uri}: cannot be opened"):
            fingerprint([Source(uri, ())])


def test_rows_to_come_are_known_for_parquet_alone(tmp_path: Path) -> None:
    parquet_file = Source(str(write_captions(tmp_path / "a.parquet", ROWS)), ())
    text_file = Source(str(written(tmp_path / "a.txt", "a\nb\n")), ())
    assert rows_to_read([Reading(parquet_file, 0), Reading(parquet_file, 1, start=3)], None) == 11
    assert rows_to_read([Reading(parquet_file, 0)], 2) == 2
    assert rows_to_read([Reading(parquet_file, 0), Reading(text_file, 1)], None) is None
    assert rows_to_read([Reading(parquet_file, 0), Reading(text_file, 1)], 5) == 5


MANY = [hashlib.sha256(bytes([number % 256, number // 256])).hexdigest() for number in range(3_000)]
"""More than is read at once from the end of a parquet."""


class Captions(BaseHTTPRequestHandler):
    """Serves files from memory, whole or in part; `whole` it gives as a whole only, at `drop` it breaks off."""

    files: dict[str, bytes] = {}  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        data = self.files.get(self.path.split("?")[0])
        if data is None:
            self.send_error(404)
            return
        size = len(data)
        asked = "whole" not in self.path and re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            first, last = int(asked[1]), min(int(asked[2] or size), size - 1)
            data = data[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT")
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if "drop" in self.path else data)
            self.close_connection = "drop" in self.path

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp", reason="fsspec reads HTTP through aiohttp, which is not installed")
    Captions.files = {
        "/a.parquet": write_captions(tmp_path / "served", ROWS).read_bytes(),
        "/b.csv.gz": gzip.compress(as_csv(ROWS).encode()),
        "/whole.parquet": write_captions(tmp_path / "served", MANY).read_bytes(),
        "/drop.txt": b"a dog\n" * 1_000,
        "/drop.parquet": write_captions(tmp_path / "served", ROWS).read_bytes(),
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), Captions) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_http(server: str) -> None:
    assert found(f"{server}/a.parquet") == [f"{server}/a.parquet"]
    assert read(f"{server}/a.parquet") == (ROWS, [])
    assert read(f"{server}/b.csv.gz") == (ROWS, [])
    assert read(f"{server}/whole.parquet") == (MANY, [])


def test_http_with_a_query(server: str) -> None:
    uri = f"{server}/b.csv.gz?download=true"
    assert found(uri) == [uri]
    assert read(uri) == (ROWS, [])


def test_http_that_is_missing_or_breaks_off(server: str) -> None:
    with pytest.raises(CorpusError, match=f"{server}/none.txt: cannot be opened"):
        fingerprint([Source(f"{server}/none.txt", ())])
    for name in ("none.txt", "drop.txt", "drop.parquet"):
        uri = f"{server}/{name}"
        values, (problem,) = read(uri)
        assert values == []
        assert (problem.place, problem.reason) == (f"{uri} after row 0", Refusal.DAMAGED)
        assert rows_to_read([Reading(Source(uri, ()), 0)], None) is None


def test_a_file_on_a_server_changes_its_fingerprint(server: str) -> None:
    def mark() -> str:
        return fingerprint([Source(f"{server}/a.parquet", ())])[0][1]

    before = mark()
    assert before == mark()
    Captions.files["/a.parquet"] += b"more"
    assert mark() != before

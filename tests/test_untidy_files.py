"""What people's files are like: marks that nobody closes, names that are guesses, what parsers crash at."""

import csv
import gzip
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import write_captions
from hypothesis import given
from hypothesis import strategies as st
from source_material import ROWS, URLS, read, written

from build_index.cleaning import Refusal
from build_index.config import BuildConfig
from build_index.corpora import Source, find_sources
from build_index.csv_rows import csv_rows
from build_index.errors import CorpusError
from build_index.json_guard import GuardedJson
from build_index.readers import read_source
from build_index.streams import Chunk, Problem


def test_a_mark_that_nobody_closes_costs_one_row(tmp_path: Path) -> None:
    rows = [f"caption {number}, of many" for number in range(300)]
    lines = ["caption", *(f'"{row}"' for row in rows)]
    lines[281] = '"caption 280'
    values, problems = read(written(tmp_path / "stray.csv", "\n".join(lines) + "\n"))
    assert values == [*rows[:280], Refusal.DAMAGED, *rows[281:]]
    assert not problems


def test_two_such_marks_cost_two_rows_and_none_between(tmp_path: Path) -> None:
    lines = ["caption", '"open', "one", '"again" and open', "two", '"a\nb"', '"last']
    values, _ = read(written(tmp_path / "two.csv", "\n".join(lines) + "\n"))
    assert values == [Refusal.DAMAGED, "one", "again and open", "two", "a\nb", Refusal.DAMAGED]


def test_a_field_that_is_too_long_costs_one_row_at_the_beginning_too(tmp_path: Path) -> None:
    values, problems = read(written(tmp_path / "long.csv", "caption\na dog\n" + "x" * (1 << 25) + "\na cat\n"))
    assert values == ["a dog", Refusal.DAMAGED, "a cat"]
    assert not problems


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("a.csv", "url,caption\nhttp://a.b/c,a dog, brown\nhttp://a.b/d,a cat,,\n", [Refusal.MORE_COLUMNS, "a cat"]),
        ("a.csv", "caption\na dog, brown\na cat\n", [Refusal.MORE_COLUMNS, "a cat"]),
        ("a.csv", "a cat\na dog, brown\n", ["a cat", Refusal.MORE_COLUMNS]),
        ("a.tsv", "http://a.b/d\ta cat\nhttp://a.b/c\ta dog\tbrown\n", ["a cat", Refusal.MORE_COLUMNS]),
        ("a.csv", "caption,url\n0,a dog,http://a.b/c\n", [Refusal.MORE_COLUMNS]),
    ],
)
def test_a_caption_that_a_separator_cuts_is_refused_and_not_shortened(
    tmp_path: Path, name: str, text: str, values: list[Any]
) -> None:
    assert read(written(tmp_path / name, text)) == (values, [])


def test_of_several_names_in_a_row_of_a_word_list_the_first_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "yolk\ngray,grey\n")
    (chunk,) = read_source(Source(str(path), (), listed=True))
    assert chunk == Chunk(0, ["yolk", "gray"])


@given(st.lists(st.text(st.sampled_from('ab",\n\r'), max_size=6), min_size=1, max_size=8))
def test_whole_rows_are_what_pythons_parser_reads(cells: list[str]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([cell, "x"] for cell in cells)
    text.seek(0)
    assert list(csv_rows(io.StringIO(text.getvalue(), newline=""))) == list(csv.reader(text))


@pytest.mark.parametrize(
    ("name", "text", "columns", "said"),
    [
        (
            "a.csv",
            "url,description\nhttp://a.b/c,a dog\n",
            ("nope",),
            "no column nope; its columns: 'url', 'description'",
        ),
        ("a.csv", "url,description\nhttp://a.b/c,a dog\n", (), "no column is named like captions; choose with"),
        ("a.csv", "a dog,b\na cat,d\n", ("nope",), "no column nope; its first row: 'a dog', 'b'; without a header"),
        ("a.csv", "url;caption\nhttp://a.b/c;a dog\n", (), "one column, 'url;caption', which looks like several"),
        (
            "results.csv",
            "image_name| comment_number| comment\n1.jpg| 0| a dog , brown\n1.jpg| 1| a cat\n",
            (),
            "one column, 'image_name| comment_number| comment', which looks like several",
        ),
        ("captions.txt", "image,caption\n1.jpg,a dog\n", (), "its first line, 'image,caption', names columns; call"),
        ("a.txt", "URL\tTEXT\nhttp://a.b/c\ta dog\n", (), "its first line, 'URL\\tTEXT', names columns; call"),
        ("Flickr8k.token.txt", "1.jpg#0\ta dog\n1.jpg#1\ta cat\n", (), "cannot tell which column holds the captions"),
        ("a.csv", "caption,caption\na dog,a cat\n", (), "2 columns are called 'caption'; rename all but one"),
    ],
)
def test_nothing_is_guessed(tmp_path: Path, name: str, text: str, columns: tuple[str, ...], said: str) -> None:
    path = written(tmp_path / name, text)
    with pytest.raises(CorpusError, match=re.escape(f"{path}: {said}")):
        list(read_source(Source(str(path), columns, chosen=bool(columns))))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("a.csv", ["a dog | a shop", "a cat", "a horse | a farm"]),
        ("a.csv", ["a dog | a shop"]),
        ("a.txt", ["text, title and a picture of a dog", "a cat"]),
        ("a.txt", ["path, dog", "cat, tree"]),
    ],
)
def test_captions_with_marks_are_no_table(tmp_path: Path, name: str, rows: list[str]) -> None:
    text = "".join(f'"{row}"\n' if name.endswith("csv") else f"{row}\n" for row in rows)
    assert read(written(tmp_path / name, text)) == (rows, [])


@pytest.mark.parametrize("columns", [(), ("caption",), ("Caption",)])
def test_columns_may_be_capitalised(tmp_path: Path, columns: tuple[str, ...]) -> None:
    path = written(tmp_path / "a.csv", "URL,Caption\nhttp://a.b/c,a dog\nhttp://a.b/d,a cat\n")
    assert read(path, *columns) == (["a dog", "a cat"], [])
    pq.write_table(pa.table({"URL": URLS, "Caption": ROWS}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", *columns) == (ROWS, [])


@pytest.mark.parametrize("name", ["what is it?.txt", "a::b.txt", "b?.csv", "c::d.parquet", "e?f.txt.gz"])
def test_names_that_look_like_addresses(tmp_path: Path, name: str) -> None:
    path = tmp_path / "folder" / name
    path.parent.mkdir()
    if name.endswith("parquet"):
        write_captions(path, ["a dog", "a cat"])
    else:
        text = b"a dog\na cat\n"
        written(path, gzip.compress(text) if name.endswith(".gz") else text)
    (source,) = find_sources(BuildConfig(corpus=(str(path.parent),), out=tmp_path / "out"))
    assert read(source.uri) == (["a dog", "a cat"], [])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("9" * 5_000, "a number of over 4,000 digits"),
        ("[" * 2_000 + "]" * 2_000, "lists and objects are more than 1,000 deep"),
        ('{"a":' * 2_000 + "1" + "}" * 2_000, "lists and objects are more than 1,000 deep"),
        ("[" * 100_000, "lists and objects are more than 1,000 deep"),
    ],
)
def test_what_a_parser_crashes_at_is_damage(tmp_path: Path, value: str, said: str) -> None:
    path = written(tmp_path / "a.json", f'[{{"caption": "a dog"}}, {{"caption": {value}}}]')
    values, (problem,) = read(path)
    assert values in ([], ["a dog"])
    assert (problem.reason, problem.detail) == (Refusal.DAMAGED, said)


@given(
    st.recursive(
        st.text(st.sampled_from('ab"\\[]{}é9'), max_size=20) | st.integers() | st.none(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    st.integers(1, 40),
)
def test_what_is_well_formed_passes_and_is_counted(document: Any, size: int) -> None:
    data = json.dumps(document, ensure_ascii=False).encode()
    guarded, parts = GuardedJson(io.BytesIO(data)), []
    while part := guarded.read(size):
        parts.append(part)
    assert b"".join(parts) == data
    assert guarded.depth == 0


@pytest.mark.parametrize("size", [1, 2, 7, 1 << 16])
def test_numbers_that_are_none_are_read_as_python_writes_them(tmp_path: Path, size: int) -> None:
    captions = ['a "NaN" \\', "Infinity, NaN", "NaN"]
    scores = [math.nan, math.inf, -math.inf]
    rows = [{"caption": caption, "score": score} for caption, score in zip(captions, scores, strict=True)]
    path = written(tmp_path / "a.json", json.dumps([*rows, {"caption": math.nan}, {"caption": "a cat"}]))
    assert read(path) == ([*captions, 0, "a cat"], [])
    guarded = GuardedJson(io.BytesIO(path.read_bytes()))
    parts = b"".join(iter(lambda: guarded.read(size), b""))
    assert [row["caption"] for row in json.loads(parts)] == [*captions, 0, "a cat"]


@pytest.mark.parametrize("line", ['{"caption": "a d', '{"caption": "a dog"', "{"])
def test_lines_of_json_whose_first_is_damaged_cost_that_one(tmp_path: Path, line: str) -> None:
    rest = [json.dumps({"caption": row}) for row in ROWS]
    assert read(written(tmp_path / "a.json", "\n".join([line, *rest]))) == ([Refusal.DAMAGED, *ROWS], [])


def test_a_damaged_document_is_not_read_by_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", '[\n{"caption": "a"},\n{"caption" "b"},\n{"caption": "c"}\n]')
    values, (problem,) = read(path)
    assert values == ["a"]
    assert problem.reason is Refusal.DAMAGED


@pytest.mark.parametrize("kind", ["csv", "tsv", "txt", "jsonl"])
@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_never_read_letter_by_letter(tmp_path: Path, kind: str, coding: str) -> None:
    path = written(tmp_path / f"a.{kind}", '"caption"\n"a dog on a beach"\n'.encode(coding))
    assert read(path) == ([], [Problem(f"{path} after row 0", 0, Refusal.DAMAGED, "it is UTF-16; save it as UTF-8")])

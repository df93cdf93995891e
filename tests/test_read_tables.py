"""CSV and TSV: quotes, marks that nobody closes, headers, and columns that are found or refused, never guessed."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_material import ROWS, URLS, read, written

from build_index.cleaning import Refusal
from build_index.config import BuildConfig
from build_index.corpora import Source, find_sources
from build_index.csv_rows import csv_rows
from build_index.errors import CorpusError
from build_index.readers import read_source
from build_index.streams import Chunk


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0")), min_size=1))
def test_csv_against_the_standard_library(tmp_path_factory: pytest.TempPathFactory, rows: list[str]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("number", "caption", "more"), *((n, row, "x") for n, row in enumerate(rows))])
    assert read(written(tmp_path_factory.mktemp("csv") / "a.csv", text.getvalue())) == (rows, [])


def test_csv_with_quotes_and_line_ends_inside(tmp_path: Path) -> None:
    text = 'url,caption\r\nu,"a ""big"" dog, black"\r\nu,"two\nlines"\r\nu,"three\r\nlines"\r\n'
    assert read(written(tmp_path / "a.csv", text)) == (['a "big" dog, black', "two\nlines", "three\r\nlines"], [])


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    rows = ['a "big" dog', '"opened and never closed', 'closed"', "'", '""']
    text = "caption\turl\n" + "".join(f"{row}\thttp://x.org\n" for row in rows)
    assert read(written(tmp_path / "a.tsv", text)) == (rows, [])


@pytest.mark.parametrize("order", ["caption first, as CC3M", "URL first, as CC12M"])
def test_tsv_without_a_header(tmp_path: Path, order: str) -> None:
    pairs = list(zip(ROWS, URLS, strict=True))
    lines = [f"{row}\t{url}" if order.startswith("caption") else f"{url}\t{row}" for row, url in pairs]
    assert read(written(tmp_path / "a.tsv", "\n".join(lines))) == (ROWS, [])


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ","), ("tsv", "\t")])
def test_empty_lines_before_the_header(tmp_path: Path, suffix: str, mark: str) -> None:
    lines = ["", f"id{mark}caption", f"7{mark}a dog", ""]
    path = written(tmp_path / f"a.{suffix}", "\n".join(lines) + "\n")
    assert read(path) == ([None, "a dog", None], [])
    nothing = written(tmp_path / f"b.{suffix}", "\n\n")
    assert len(read(nothing)[0]) == 2


def test_a_first_row_with_a_url_is_no_header(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.tsv", "caption\thttp://x.org/1\na dog\thttp://x.org/2\n")) == (
        ["caption", "a dog"],
        [],
    )


def test_a_few_urls_make_no_url_column(tmp_path: Path) -> None:
    rows = ["a dog", "http://x.org/a-caption.jpg", "a cat", "a horse"]
    urls = ["http://x.org/1", "http://x.org/2", "", "//x.org/4.jpg"]
    path = written(tmp_path / "a.tsv", "".join(f"{url}\t{row}\n" for url, row in zip(urls, rows, strict=True)))
    assert read(path) == (rows, [])


def test_a_row_that_is_too_short_is_a_null(tmp_path: Path) -> None:
    text = "http://x.org/1\ta dog\nhttp://x.org/2\nhttp://x.org/3\ta cat\t\n"
    assert read(written(tmp_path / "a.tsv", text)) == (["a dog", None, "a cat"], [])
    assert read(written(tmp_path / "a.csv", "url,caption\nu,a dog\n\nu\nu,a cat\n")) == (
        ["a dog", None, None, "a cat"],
        [],
    )


def test_a_header_names_the_column(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "title,caption,tag\nt,c,g\n")
    assert read(path) == (["c"], [])
    assert read(path, "title") == (["t"], [])
    assert read(path, "none", "tag") == (["g"], [])


def test_a_position_names_the_column(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "1.jpg#0\ta dog\tx\n1.jpg#1\ta cat\ty\n")
    assert read(path, "1") == (["a dog", "a cat"], [])
    assert read(path, "caption", "1") == (["a dog", "a cat"], [])
    with_header = written(tmp_path / "b.csv", "url,caption\nu,a dog\n")
    assert read(with_header, "1") == (["a dog"], [])
    with pytest.raises(CorpusError, match=re.escape(f"{path}: no column 3; rows have 3 columns, counted from 0")):
        read(path, "3")


def test_flickrs_token_file_is_read_by_its_preset(tmp_path: Path) -> None:
    written(tmp_path / "results_20130124.token", "1.jpg#0\ta dog\n1.jpg#1\ta cat\n")
    (source,) = find_sources(BuildConfig(corpus=("flickr30k",), data_dir=tmp_path))
    assert read(source.uri, *source.columns) == (["a dog", "a cat"], [])


def test_a_list_in_a_cell_is_taken_apart(tmp_path: Path) -> None:
    """As in Flickr30k's table on the hub, whose five captions of a picture stand in one cell."""
    rows = [json.dumps(["a dog", 'a "big" dog']), '["a", 1, "b"]', '["unclosed", "', "a cat", json.dumps(["a horse"])]
    text = io.StringIO()
    csv.writer(text).writerows([("raw", "filename"), *((row, "1.jpg") for row in rows)])
    path = written(tmp_path / "flickr_annotations_30k.csv", text.getvalue())
    assert read(path, "raw") == (["a dog", 'a "big" dog', *rows[1:4], "a horse"], [])


def test_a_missing_column_lists_the_columns(tmp_path: Path) -> None:
    for name, text in (("a.csv", "url,caption\nu,c\n"), ("a.tsv", "url\tcaption\nhttp://x.org\tc\n")):
        path = written(tmp_path / name, text)
        with pytest.raises(CorpusError, match=re.escape(f"{path}: no column title; its columns: 'url', 'caption'")):
            read(path, "title")


def test_a_column_that_could_be_any_lists_the_first_row(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "a dog,brown\na cat,black\n")
    with pytest.raises(CorpusError, match=r"a\.csv: cannot tell which column .*; its first row: 'a dog', 'brown'"):
        read(path)


def test_two_columns_that_could_hold_captions(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "url,text,caption\nu,t,c\n")
    with pytest.raises(
        CorpusError,
        match=r"captions could be in caption or text; choose with --caption-column; its columns: 'url', 'text', 'capt",
    ):
        read(path)


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

"""JSON in every shape that captions come in, damaged, or such that parsers crash at it."""

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_material import ROWS, read, written

from build_index.cleaning import Refusal
from build_index.errors import CorpusError
from build_index.json_guard import GuardedJson
from build_index.streams import Problem

COCO = {
    "info": {"year": 2017, "description": "annotations"},
    "images": [{"id": 1, "coco_url": "http://x.org"}],
    "annotations": [{"image_id": 1, "id": number, "caption": row} for number, row in enumerate(ROWS)],
    "licenses": [],
}


@pytest.mark.parametrize("indent", [None, 2])
def test_coco_annotations(tmp_path: Path, indent: int | None) -> None:
    path = written(tmp_path / "captions_val2017.json", json.dumps(COCO, indent=indent))
    assert read(path) == (ROWS, [])


def test_a_document_on_one_long_line_is_not_loaded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"caption {number}" for number in range(20_000)]
    path = written(tmp_path / "a.json", json.dumps({"annotations": [{"caption": row} for row in rows]}))
    longest = 0

    def loads(text: str) -> Any:
        nonlocal longest
        longest = max(longest, len(text))
        return json.JSONDecoder().decode(text)

    monkeypatch.setattr("build_index.json_reader.json.loads", loads)
    assert read(path) == (rows, [])
    assert longest < path.stat().st_size / 4


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('["a", "b"]', ["a", "b"]),
        ('\n\n  [\n"a",\n"b"\n]\n', ["a", "b"]),
        ('[{"caption": "a"}, {"id": 3}, {"caption": null}, 7]', ["a", None, None, 7]),
        ('[{"caption": ["a", "b"]}, {"caption": []}, ["c"]]', ["a", "b", None, "c"]),
        ('{"caption": "a"}\n{"caption": "b"}\n', ["a", "b"]),  # lines under the wrong name
        ('"a"\n"b"\n', ["a", "b"]),
        ('{"caption": "a"}', ["a"]),
    ],
)
def test_json_as_people_write_it(tmp_path: Path, text: str, values: list[Any]) -> None:
    assert read(written(tmp_path / "a.json", text)) == (values, [])


def test_json_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    rows = [f"caption {number}" for number in range(9_000)]
    text = json.dumps(rows)
    path = written(tmp_path / "a.json", text[: len(text) // 2])
    values, (problem,) = read(path)
    assert len(values) > 4_000
    assert values == rows[: len(values)]
    assert problem == Problem(f"{path} after row {len(values)}", 0, Refusal.DAMAGED, "parse error: premature EOF")


def test_json_that_is_not_utf_8_breaks_off_with_a_readable_reason(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", b'["a", "b\xff", "c"]')
    expected = Problem(f"{path} after row 1", 0, Refusal.DAMAGED, "lexical error: invalid bytes in UTF8 string.")
    assert read(path) == (["a"], [expected])


def test_json_without_captions(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ('{\n"images": ["a"]\n}', '{\n "caption": "a"\n}', '{"annotations": []}'):
        said = "no annotations in it; it may also be a list, or an object a line"
        assert read(written(path, text)) == ([], [Problem(str(path), 0, Refusal.NO_ROWS, said)])
    assert read(written(path, "[]")) == ([], [Problem(str(path), 0, Refusal.NO_ROWS, "no rows in it")])


def test_bad_lines_spoil_themselves_alone(tmp_path: Path) -> None:
    lines = ['{"caption": "a"}', '{"caption": "b"', "", "nonsense", "[" * 100_000, '{"caption": "c"}', "null", "3"]
    values, problems = read(written(tmp_path / "a.jsonl", "\n".join(lines)))
    assert values == ["a", Refusal.DAMAGED, Refusal.DAMAGED, Refusal.DAMAGED, "c", None, 3]
    assert problems == []


def test_a_missing_key_lists_the_keys(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"id": 1, "words": "a"}\n')
    with pytest.raises(CorpusError, match=r"a\.jsonl: no column is named like captions; .*'id', 'words'"):
        read(path)
    with pytest.raises(CorpusError, match=r"a\.jsonl: no column title; its columns: 'id', 'words'"):
        read(path, "title")
    assert read(path, "words") == (["a"], [])


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

"""Mappings as files: what was saved says what the mapping said, a user's own table, and files that are none."""

import json
from pathlib import Path

import pytest
from mapping_material import ANGLES, PETS, Compass, classes_of

from evaluation.classes import Classes
from evaluation.mappings import MappingError, MappingName, load_mapping, save_table
from evaluation.mappings.similarity import SimilarityMapping
from evaluation.mappings.table import load_table


def test_a_saved_table_says_what_the_mapping_said(tmp_path: Path) -> None:
    mapping = load_mapping(MappingName.LEXICAL, PETS)
    names = ["poodle", "dog", "Sky", "hound", "poodle"]
    save_table(tmp_path / "a.json", mapping, PETS, names)
    save_table(tmp_path / "b.json", mapping, PETS, names[::-1])
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["mapping"] == "lexical"
    assert content["mapping_version"] == mapping.version
    assert content["names"]["poodle"] == {"class": "dog", "level": "hyponym", "score": None}
    assert content["names"]["Sky"] == {"class": None, "level": None, "score": None}
    saved = load_table(tmp_path / "a.json", PETS)
    assert saved.matches(names) == mapping.matches(names)
    assert mapping.version in saved.version


def test_a_saved_table_keeps_scores(tmp_path: Path) -> None:
    mapping = SimilarityMapping(MappingName.SBERT_THR, Classes.of(["east", "north"]), Compass(ANGLES), 0.6)
    save_table(tmp_path / "a.json", mapping, Classes.of(["east", "north"]), ANGLES)
    assert load_table(tmp_path / "a.json", Classes.of(["east", "north"])).matches([*ANGLES]) == mapping.matches(
        [*ANGLES]
    )


def test_a_saved_table_has_names_that_differ_in_a_hyphen_alone(tmp_path: Path) -> None:
    angles = {"fire-truck": 10.0, "fire truck": 80.0, "Fire truck": 20.0}  # a model reads each as it is written
    classes = Classes.of(["east", "north"])
    mapping = SimilarityMapping(MappingName.SBERT_FORCED, classes, Compass(ANGLES | angles))
    save_table(tmp_path / "a.json", mapping, classes, angles)
    saved = load_table(tmp_path / "a.json", classes)
    assert saved.matches([*angles]) == mapping.matches([*angles])
    assert saved.matches(["FIRE TRUCK"]) == mapping.matches(["fire truck"])


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("own.json", '{"poodle": "dog", "Flat-Screen": "tv monitor", "haze": null}'),
        ("own.csv", "name,class,who\npoodle,dog,me\nFlat-Screen,tv monitor,me\nhaze,,me\n"),
        ("own.csv", "\ufeffname,class\r\npoodle,hound\r\nflat screen,tvmonitor\r\nhaze,\r\n"),
    ],
)
def test_a_users_own_table(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text, "utf-8")
    mapping = load_mapping(MappingName.TABLE, PETS, table=tmp_path / file)
    names = ["poodle", "flat screen", "Poodle", "haze", "dog", "red poodle"]
    assert classes_of(mapping, names) == [0, 1, 0, -1, -1, -1]


def test_heads_count_where_the_table_says_so(tmp_path: Path) -> None:
    content = {"format": "mapping table", "version": 1, "heads": True, "names": {"poodle": {"class": "dog"}}}
    (tmp_path / "own.json").write_text(json.dumps(content))
    mapping = load_table(tmp_path / "own.json", PETS)
    assert classes_of(mapping, ["red poodle", "poodle on a sofa", "sofa"]) == [0, 0, -1]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.json", '{"poodle": "wolf"}', "'poodle' is given the class 'wolf'"),
        ("a.json", '{"Poodle": "dog", "poodle": null}', "is there twice"),
        ("a.json", '{"poodle": 3}', "expected the name of a class"),
        ("a.json", "[1]", "an object of names, found list"),
        ("a.json", "{", "cannot be read as a mapping table"),
        ("a.json", '{"format": "mapping table", "version": 9}', "version 9; this program reads version 1"),
        ("a.json", '{"format": "mapping table", "version": 1, "names": []}', "has names, an object"),
        ("a.csv", "poodle,dog\n", "names the columns name and class"),
        ("a.csv", "class,name\ndog,poodle\ndog\n", "line 3 has no name"),
        ("a.json", "[" * 100_000, "cannot be read as a mapping table"),
        (
            "a.json",
            '{"format": "mapping table", "version": 1, "names": {"poodle": {"class": "dog", "score": []}}}',
            "'poodle' has the score",
        ),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_place(tmp_path: Path, file: str, text: str, message: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(MappingError, match=message) as caught:
        load_table(tmp_path / file, PETS)
    assert str(tmp_path / file) in str(caught.value)


def test_a_table_belongs_to_the_table_mapping_and_to_no_other(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="none was given"):
        load_mapping(MappingName.TABLE, PETS)
    with pytest.raises(MappingError, match="was given to hard"):
        load_mapping(MappingName.HARD, PETS, table=tmp_path)
    with pytest.raises(MappingError, match="cannot be read"):
        load_mapping(MappingName.TABLE, PETS, table=tmp_path / "none.json")

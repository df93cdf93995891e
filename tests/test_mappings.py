"""From free names to classes: by hand on tiny lists, against slow twins, and on the class list of every data set."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapping_material import ANGLES, CLASS_LISTS, PETS, TINY, Compass, Noise, classes_of, minilm

from evaluation.classes import Classes, parse_classes, read_classes
from evaluation.mappings import Level, Mapping, MappingError, MappingName, Match, load_mapping, save_table
from evaluation.mappings.exact import HardMapping
from evaluation.mappings.lexical import LexicalMapping
from evaluation.mappings.nouns import Nouns, parse_nouns
from evaluation.mappings.sentences import folder_identity
from evaluation.mappings.similarity import SimilarityMapping, SoftMapping

# --- lexical ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dogs", Match(1, Level.EXACT)),
        ("big red dog", Match(1, Level.EXACT)),
        ("automobile", Match(0, Level.EXACT)),  # an alias
        ("motorcar", Match(0, Level.SYNONYM)),
        ("hound", Match(1, Level.SYNONYM)),
        ("roadsters", Match(0, Level.HYPONYM)),
        ("red sports car", Match(0, Level.HYPONYM)),
        ("toy poodle", Match(1, Level.HYPONYM)),
        ("tyre", Match(0, Level.MERONYM)),
        ("rim of a wheel", Match(0, Level.MERONYM)),
        ("animal", Match(-1)),  # what a dog is a kind of is no dog
        ("gondola", Match(-1)),  # another meaning of car
        ("pup", Match(-1)),
        ("unicorn", Match(-1)),
        ("", Match(-1)),
    ],
)
def test_lexical_levels_by_hand(name: str, expected: Match) -> None:
    mapping = LexicalMapping(parse_classes(["car = car | automobile", "dog"]), parse_nouns(TINY))
    assert mapping.matches([name]) == (expected,)


def slow_level(name: int, classes: list[set[int]], nouns: Nouns) -> Match:
    """Every class and every level tried in turn, from the definition."""

    def kinds(at: int) -> list[tuple[int, int]]:
        return [(at, 0)] + [(end, far + 1) for above in nouns.kinds[at] for end, far in kinds(above)]

    def wholes(at: int) -> list[tuple[int, int]]:
        return [(end, far + 1) for whole in nouns.wholes[at] for end, far in [(whole, 0), *wholes(whole)]]

    parts = [(end, far + more) for whole, far in wholes(name) for end, more in kinds(whole)]
    reached = {Level.SYNONYM: [(name, 0)], Level.HYPONYM: kinds(name), Level.MERONYM: parts}
    for level, ends in reached.items():
        found = [(far, number) for end, far in ends for number, owned in enumerate(classes) if end in owned]
        if found:
            return Match(min(found)[1], level)
    return Match(-1)


@given(st.data())
def test_lexical_levels_against_the_definition(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 8))
    below = [st.sets(st.integers(0, max(at - 1, 0)), max_size=2) if at else st.just(set()) for at in range(count)]
    kinds, wholes = ([data.draw(drawn) for drawn in below] for _ in range(2))
    rows = [
        f"n{at}\t{','.join(map(str, sorted(kinds[at])))}\t{','.join(map(str, sorted(wholes[at])))}"
        for at in range(count)
    ]
    nouns = parse_nouns("\n".join(rows))
    chosen = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=3, unique=True))
    mapping = LexicalMapping(Classes.of([f"n{at}" for at in chosen]), nouns)
    for at in set(range(count)) - set(chosen):
        assert mapping.matches([f"n{at}"]) == (slow_level(at, [{owned} for owned in chosen], nouns),)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("red sports car", "car"), ("taxi", "car"), ("van", "car"), ("ferry", "boat"), ("sailing yacht", "boat"),
        ("poodle", "dog"), ("kitten", "cat"), ("chickens", "bird"), ("swan", "bird"), ("lambs", "sheep"),
        ("jet", "aeroplane"), ("biplane", "aeroplane"), ("armchair", "chair"), ("cowboy", "person"),
        ("bride", "person"), ("face", "person"), ("couch", "sofa"), ("steam locomotive", "train"),
        ("herd of cattle", "cow"), ("hot dog", None), ("monkey", None), ("sea lion", None), ("tower", None),
        ("stool", None), ("sky", None), ("vehicle", None), ("animal", None), ("eiffel tower", None),
        ("leaf", None), ("qwzx", None), ("scooter", "motorbike"), ("sailboat", "boat"), ("sloop", "boat"),
        ("fishing boat", "boat"), ("black cat", "cat"), ("white sheep", "sheep"), ("poster", None), ("kite", None),
        ("house plant", "pottedplant"), ("mug", None), ("ostrich", "bird"), ("sun", None), ("tiger", None),
        ("hotdog", None),
    ],
)  # fmt: skip
def test_words_that_people_say_about_voc_pictures(name: str, expected: str | None) -> None:
    classes = read_classes(next(path for path in CLASS_LISTS if path.stem == "voc20"))
    (number,) = classes_of(load_mapping(MappingName.LEXICAL, classes), [name])
    assert (classes.names[number] if number >= 0 else None) == expected


@pytest.mark.parametrize(("name", "expected"), [("ice", None), ("guy", "person"), ("jersey", None), ("goat", None)])
def test_acronyms_and_proper_names_do_not_overtake_a_word(name: str, expected: str | None) -> None:
    # ICE, an engine, is a part of a motorboat; Guy Fawkes is an effigy
    classes = parse_classes(["boat", "person", "ground"])
    (number,) = classes_of(load_mapping(MappingName.LEXICAL, classes), [name])
    assert (classes.names[number] if number >= 0 else None) == expected


@pytest.mark.parametrize(
    ("data_set", "name", "expected"),
    [
        ("ade150", "hand", "person"), ("ade150", "face", "person"), ("ade150", "forest", "tree"),
        ("ade150", "lawn", "grass"), ("ade150", "motorcycle", "minibike"), ("ade150", "dirt bike", "minibike"),
        ("ade150", "t-shirt", "apparel"), ("ade150", "pants", "apparel"), ("ade150", "tiger", "animal"),
        ("ade150", "window blinds", "blind"), ("coco-stuff", "shirt", "clothes"), ("coco-stuff", "tie", "tie"),
        ("coco-stuff", "blinds", "window-blind"), ("coco-stuff", "flag", None), ("coco-stuff", "pasture", "grass"),
        ("coco-object", "scooter", "motorcycle"),
        ("context59", "forest", "tree"), ("context59", "sun", None), ("camvid", "bus", "car"),
        ("camvid", "tram", "car"),
        ("camvid", "mountain bike", "bicyclist"), ("camvid", "motorcycle", "bicyclist"),
        ("camvid", "scooter", "bicyclist"),
        ("camvid", "traffic light", "sign"), ("camvid", "airplane", None), ("camvid", "truck", "car"),
    ],
)  # fmt: skip
def test_words_that_people_say_about_other_pictures(data_set: str, name: str, expected: str | None) -> None:
    classes = read_classes(next(path for path in CLASS_LISTS if path.stem == data_set))
    (number,) = classes_of(load_mapping(MappingName.LEXICAL, classes), [name])
    assert (classes.names[number] if number >= 0 else None) == expected


def test_a_class_means_what_its_strings_have_in_common() -> None:
    classes = parse_classes(["wardrobe = wardrobe | closet | press", "toilet = toilet | can | commode"])
    names = ["armoire", "printing press", "newspaper", "rusty can"]
    assert [m.level for m in load_mapping(MappingName.LEXICAL, classes).matches(names)] == [
        Level.HYPONYM, None, None, Level.EXACT,
    ]  # fmt: skip


def test_names_in_a_plural_without_an_s() -> None:
    classes = parse_classes(["person = person | child", "bird", "mouse"])
    names = ["children", "wild geese", "mice"]
    assert classes_of(load_mapping(MappingName.LEXICAL, classes), names) == [0, 1, 2]
    assert classes_of(HardMapping(classes), ["persons", "mice"]) == [0, 2]


def test_a_class_of_animals_is_never_an_insult() -> None:
    classes = parse_classes(["dog = dog | hound"])  # both words also mean a scoundrel
    assert classes_of(load_mapping(MappingName.LEXICAL, classes), ["poodle", "cad"]) == [0, -1]


def test_another_table_of_customs_is_another_version() -> None:
    assert "customs sha256:" in load_mapping(MappingName.LEXICAL, PETS).version


def test_the_background_is_reached_by_its_own_string_alone() -> None:
    classes = parse_classes(["*background", "dog"])
    mapping = load_mapping(MappingName.LEXICAL, classes)
    assert classes_of(mapping, ["background", "desktop", "wallpaper"]) == [0, -1, -1]


# --- hard ------------------------------------------------------------------------------------------------------------


def test_hard_is_equality_after_lemmatisation() -> None:
    mapping = HardMapping(parse_classes(["tvmonitor = tv monitor | television", "dog"]))
    names = ["TV monitors", "tvmonitor", "television", "dogs", "Dog", "red dog", "poodle", ""]
    assert classes_of(mapping, names) == [0, 0, -1, 1, 1, -1, -1, -1]


# --- cosines ---------------------------------------------------------------------------------------------------------


def test_cosines_by_hand() -> None:
    classes = Classes.of(["east", "north"])
    names = ["northeast by east", "far", "north", "south", "west"]
    forced = SimilarityMapping(MappingName.SBERT_FORCED, classes, Compass(ANGLES))
    assert classes_of(forced, names) == [0, 1, 1, 0, 1]
    assert [match.score for match in forced.matches(names)] == pytest.approx([0.866025, 0.5, 1, 0, 0], abs=1e-6)
    above = SimilarityMapping(MappingName.SBERT_THR, classes, Compass(ANGLES), threshold=0.6)
    assert classes_of(above, names) == [0, -1, 1, -1, -1]
    soft = SoftMapping(classes, Compass(ANGLES))
    assert classes_of(soft, ["northeast by east", "far", "southwest"]) == [0, 1, -1]


@given(st.lists(st.text(max_size=4), max_size=6), st.sampled_from([-1.0, 0.0, 0.1]))
def test_cosines_against_loops_and_in_any_order(names: list[str], threshold: float) -> None:
    classes, noise = Classes.of(["a", "b", "c"]), Noise()
    mapping = SimilarityMapping(MappingName.SBERT_THR, classes, noise, threshold)
    expected = []
    for name in names:
        cosines = [float(noise.encode([name])[0] @ noise.encode([string])[0]) for string in classes.names]
        best = max(range(3), key=lambda number, of=cosines: of[number])
        expected.append(best if cosines[best] >= threshold else -1)
    assert classes_of(mapping, names) == expected
    assert classes_of(mapping, names[::-1]) == expected[::-1]


def test_one_alias_more_changes_no_cosine() -> None:
    few, many = parse_classes(["east", "north"]), parse_classes(["east = east | far", "north"])
    for classes in (few, many):
        assert classes_of(SimilarityMapping(MappingName.SBERT_FORCED, classes, Compass(ANGLES)), ["far"]) == [1]


# --- every data set --------------------------------------------------------------------------------------------------


def offline(classes: Classes) -> list[Mapping]:
    return [
        load_mapping(MappingName.LEXICAL, classes),
        load_mapping(MappingName.HARD, classes),
        SimilarityMapping(MappingName.SBERT_FORCED, classes, Noise()),
        SimilarityMapping(MappingName.SBERT_THR, classes, Noise(), 0.5),
        SoftMapping(classes, Noise()),
    ]


@pytest.mark.parametrize("path", CLASS_LISTS, ids=lambda path: path.stem)
def test_perfect_names_are_their_own_classes(path: Path, tmp_path: Path) -> None:
    classes = read_classes(path)
    own = list(range(len(classes)))
    for mapping in offline(classes):
        assert classes_of(mapping, classes.published) == own, mapping.name
        assert classes_of(mapping, []) == []
        save_table(tmp_path / "table.json", mapping, classes, classes.published)
        saved = load_mapping(MappingName.TABLE, classes, table=tmp_path / "table.json")
        assert classes_of(saved, classes.published) == own
    for mapping in offline(classes)[:2]:
        assert classes_of(mapping, classes.names) == own, mapping.name
        assert classes_of(mapping, [name.upper().replace(" ", "_") for name in classes.names]) == own


@pytest.mark.parametrize("path", CLASS_LISTS, ids=lambda path: path.stem)
def test_names_of_nothing_are_unknown(path: Path, tmp_path: Path) -> None:
    classes = read_classes(path)
    nothing = ["qwzx", "xyzzy plugh", "", "  ", "?"]
    (tmp_path / "table.json").write_text("{}")
    mappings = [*offline(classes)[:2], load_mapping(MappingName.TABLE, classes, table=tmp_path / "table.json")]
    mappings.append(SimilarityMapping(MappingName.SBERT_THR, classes, Noise(), 0.9))
    for mapping in mappings:
        assert set(classes_of(mapping, nothing)) == {-1}, mapping.name


@pytest.mark.parametrize("path", CLASS_LISTS, ids=lambda path: path.stem)
def test_a_name_has_one_class_whatever_names_come_with_it(path: Path) -> None:
    classes = read_classes(path)
    names = ["poodle", "red sports car", "cloud", "oak tree", *classes.published[:5]]
    for mapping in offline(classes):
        assert [number for name in names for number in classes_of(mapping, [name])] == classes_of(mapping, names)


# --- loading ---------------------------------------------------------------------------------------------------------


def test_without_sentence_transformers_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MappingError, match=r"labeler\[sentences\]"):
        load_mapping(MappingName.SBERT_FORCED, PETS)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="no such folder"):
        load_mapping(MappingName.SBERT_FORCED, PETS, sentences=tmp_path / "none")


@pytest.mark.weights
def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is optional")
    (tmp_path / "readme.txt").write_text("no model")
    with pytest.raises(MappingError, match=r"holds no model.*--sentences"):
        load_mapping(MappingName.SBERT_FORCED, PETS, sentences=tmp_path)


def test_a_model_is_known_by_its_bytes_and_not_by_its_place(tmp_path: Path) -> None:
    for place, weights in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / place / "model").mkdir(parents=True)
        (tmp_path / place / "model/model.safetensors").write_bytes(weights)
    one, same, other = (folder_identity(tmp_path / place / "model") for place in "abc")
    assert one == same != other


def test_every_mapping_says_its_name_and_version(tmp_path: Path) -> None:
    for mapping in offline(PETS):
        assert mapping.name in {name.value for name in MappingName}
        assert mapping.version
    one, two = (SimilarityMapping(MappingName.SBERT_THR, PETS, Noise(), at).version for at in (0.5, 0.6))
    assert one != two


# --- a real sentence model -------------------------------------------------------------------------------------------


@pytest.mark.weights
@pytest.mark.parametrize("path", CLASS_LISTS, ids=lambda path: path.stem)
def test_perfect_names_are_their_own_classes_by_a_real_model(path: Path) -> None:
    classes = read_classes(path)
    for mapping in (SimilarityMapping(MappingName.SBERT_FORCED, classes, minilm()), SoftMapping(classes, minilm())):
        assert classes_of(mapping, classes.published) == list(range(len(classes)))


@pytest.mark.weights
def test_what_a_real_model_says_of_voc() -> None:
    classes = read_classes(next(path for path in CLASS_LISTS if path.stem == "voc20"))
    names = ["puppy", "jet plane", "grass", "philosophy"]
    forced = SimilarityMapping(MappingName.SBERT_FORCED, classes, minilm())
    above = SimilarityMapping(MappingName.SBERT_THR, classes, minilm(), 0.5)
    assert [classes.names[number] for number in classes_of(forced, names)[:2]] == ["dog", "aeroplane"]
    assert min(classes_of(forced, names)) >= 0
    assert classes_of(above, names)[2:] == [-1, -1]
    vectors = minilm().encode(names)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)

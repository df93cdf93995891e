"""Names and their heads, and the list of nouns: by hand, against slow twins, and as it comes with the program."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapping_material import TINY

from evaluation.mappings.make_nouns import extract
from evaluation.mappings.nouns import NOUNS_FILE, load_nouns, parse_nouns
from evaluation.mappings.words import heads, lemma, normal

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


def test_plurals_without_an_s() -> None:
    names = ["small children", "computer mice", "geese"]
    assert [lemma(name) for name in names] == ["small child", "computer mouse", "goose"]
    nouns = load_nouns()
    names = ["children", "teeth", "opera", "agenda"]
    assert [nouns.lemma(name) for name in names] == ["child", "teeth", "opera", "agenda"]


def test_normal_forms_are_stable() -> None:
    assert normal(normal("A_b-C  d!")) == normal("A_b-C  d!") == "a b c d"


# --- nouns -----------------------------------------------------------------------------------------------------------


def test_a_list_of_nouns_by_hand() -> None:
    tiny = parse_nouns(TINY)
    assert tiny.senses("Cars") == (1, 8)
    assert tiny.senses("dogs") == (5, 7)
    assert tiny.senses("unicorn") == ()
    assert tiny.above(6) == {6: 0, 5: 1, 4: 2}
    assert tiny.around(9) == {3: 1, 1: 2, 0: 3}
    assert tiny.around(1) == {}


def test_what_a_word_means_in_lower_case_comes_before_what_it_means_with_capitals() -> None:
    nouns = parse_nouns("engine|ICE\t\t\nice#2|sorbet\t\t\nIce\t\t\nice\t\t\n")
    assert nouns.senses("ice") == nouns.senses("ICE") == (3, 1, 0, 2)


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

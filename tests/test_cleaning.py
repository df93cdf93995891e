"""Cleaning: what is mended and what is refused, by example; what must always hold, by property."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from build_index.cleaning import MAX_CHARACTERS, Refusal, _mend, clean, clean_word

ascii_text = st.text(st.characters(min_codepoint=32, max_codepoint=126))
nearly_markup = st.lists(
    st.sampled_from(
        ["a", "B", " ", "  ", "&", "amp", ";", "&lt;", "#38", "<", ">", "/", "b", "www", ".", "http", "s", ":", "é"]
    )
).map("".join)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("A dog", "A dog"),
        ("  A \t dog\n", "A dog"),
        ("A\u00a0dog\u3000barks", "A dog barks"),
        ("cafe\u0301", "café"),
        ("ﬁne", "ﬁne"),  # NFC keeps ligatures
        ("rock &amp; roll", "rock & roll"),
        ("5 &lt; 6 &#38; 7 &gt; 6", "5 < 6 & 7 > 6"),
        ("&quot;quoted&quot;&nbsp;text", '"quoted" text'),
        ("R&D, AT&T and Q&A; more", "R&D, AT&T and Q&A; more"),
        ("do&not touch, é", "do&not touch, é"),  # no semicolon: two words, and not the sign ¬
        ("a <b>big</b> dog<br/>barks", "a big dog barks"),
        ("a dog <!-- not a cat --> barks", "a dog barks"),
        ("&lt;i&gt;a dog&lt;/i&gt;", "a dog"),
        ("I <3 dogs", "I <3 dogs"),
        ("a < b > c", "a < b > c"),
        ("<PERSON> and <person> smile", "person and person smile"),
        ("a dog http://example.com/a.jpg barks", "a dog barks"),
        ("a dog (HTTPS://EXAMPLE.COM)", "a dog ("),
        ("see www.example.com now", "see now"),
        ("awww.so cute", "awww.so cute"),
        ("a\u200bdog\ufeff", "a dog"),
        ("bell\x07 and null\x00 byte", "bell and null byte"),
        ("日本の庭", "日本の庭"),
        ("A DOG!", "A DOG!"),  # case and punctuation stay
        ("42", "42"),
    ],
)
def test_what_is_mended(raw: str, expected: str) -> None:
    assert clean(raw) == expected


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, Refusal.NULL),
        (7, Refusal.NOT_TEXT),
        (b"a dog", Refusal.NOT_TEXT),
        ({"caption": "a dog"}, Refusal.NOT_TEXT),
        ("", Refusal.EMPTY),
        (" \n\u200b", Refusal.EMPTY),
        ("...!?", Refusal.EMPTY),
        ("🐶🐶", Refusal.EMPTY),
        ("<br><br/>", Refusal.EMPTY),
        ("https://example.com/a.jpg", Refusal.EMPTY),
        ("a" * (MAX_CHARACTERS + 1), Refusal.TOO_LONG),
        ("caf\udce9", Refusal.NOT_UTF8),
        (Refusal.DAMAGED, Refusal.DAMAGED),
    ],
)
def test_what_is_refused(raw: object, reason: Refusal) -> None:
    assert clean(raw) is reason


def test_the_longest_caption() -> None:
    assert clean("a" * MAX_CHARACTERS) == "a" * MAX_CHARACTERS


@given(ascii_text | nearly_markup)
def test_the_short_cut_for_plain_text_changes_nothing(raw: str) -> None:
    """`clean` skips mending where it would do nothing: then mending must do nothing."""
    text = clean(raw)
    if isinstance(text, str):
        assert text == _mend(raw)


@given(st.text() | nearly_markup)
def test_what_is_kept_is_normalised(raw: str) -> None:
    text = clean(raw)
    if isinstance(text, str):
        assert text == unicodedata.normalize("NFC", text)
        assert text == " ".join(text.split())
        assert any(character.isalnum() or character == "_" for character in text)
        assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf"], exclude_characters="&<>:.")))
def test_text_without_markup_loses_nothing_but_spaces(raw: str) -> None:
    text = clean(raw)
    if isinstance(text, str):
        assert text.split() == unicodedata.normalize("NFC", raw).split()


# --- word lists


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("n02084071\tdog, domestic dog", "dog, domestic dog"),  # ImageNet
        ("n02084071 dog, domestic dog", "dog, domestic dog"),
        ("n02119789 1 kit_fox", "kit fox"),
        ("n01498041 stingray 6", "stingray"),
        ("/a/apartment_building/outdoor 8", "apartment building/outdoor"),  # Places365
        ("/a/airfield", "airfield"),
        ("12: fire hydrant", "fire hydrant"),  # COCO-Stuff
        ("{0: 'tench, Tinca tinca',", "tench, Tinca tinca"),
        (' 1: "jack-o\'-lantern"}', "jack-o'-lantern"),
        ('"0": "tench",', "tench"),
        ("0  person", "person"),
        ("1. dog", "dog"),
        ("0,dog", "dog"),
        ("- dog", "dog"),
        ("1\tperson", "person"),
        ("dog\t1234", "dog"),
        ("dog\ta domestic animal", "dog"),
        ("0\tn01440764\ttench", "tench"),
        ("golden_retriever.n.01", "golden retriever"),  # WordNet
        ("dog#n#1", "dog"),
        ("hot_dog%1:13:01::", "hot dog"),
        ("/m/0bt9lr,Dog", "Dog"),  # Open Images
    ],
)
def test_a_word_list_gives_names_without_its_numbers_ids_and_paths(line: str, name: str) -> None:
    assert clean_word(line) == name


@pytest.mark.parametrize(
    "name",
    [
        *("7 up", "3d printer", "boeing 747", "1960s car", "2x4", "24/7 shop", "4:3 screen", "1,000 bill", "a.n.other"),
        *("1.5 l bottle", "dr. pepper", "u.s. flag", "#1 fan", "'s-hertogenbosch", "t - shirt", "n95 mask", "k-9 dog"),
        *("st. john's wort", "c# book", "dogs & cats", "100% cotton"),
    ],
)
def test_what_only_looks_like_a_number_or_an_id_is_part_of_a_name(name: str) -> None:
    assert clean_word(name) == name


@pytest.mark.parametrize("line", ["n02084071", "/m/0bt9lr", "12", "0.65", "# vehicles", "0\t12", "/a/ 3"])
def test_a_line_without_a_name_is_refused(line: str) -> None:
    assert clean_word(line) is Refusal.NO_NAME


@pytest.mark.parametrize("line", ["photo", "background", "1: background", "a", "word " * 20])
def test_a_name_that_nothing_can_be_called_is_refused(line: str) -> None:
    """It would be kept as a caption without a word, and nobody would know."""
    assert clean_word(line) is Refusal.NO_LABEL


@given(st.text() | st.from_regex(r"[n/#\d\t .:'\"a-z_]{0,30}", fullmatch=True))
def test_the_name_in_a_line_is_found_once_and_for_all(line: str) -> None:
    name = clean_word(line)
    if isinstance(name, str):
        assert any(letter.isalpha() for letter in name)
        assert name == " ".join(name.split())

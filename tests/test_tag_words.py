"""TAG's filter of words, as published: its documented failures belong to it."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeler.tag_words import BANNED, tag_singular, tag_words


def survivors(text: str) -> list[str]:
    """The words of one caption that nothing but the count could stop, each in two captions."""
    return tag_words([text, text])


@pytest.mark.parametrize(
    ("caption", "left"),
    [
        ("Leaning Tower of Pisa, Italy", "italy leaning pisa tower"),  # single words only
        ("an old TV", "old"),  # two letters are too few
        ("Café", "caf"),
        ("Île-de-France", "france le"),
        ("T-shirt", "shirt"),
        ("open till 7.30pm in the U.S.", "open the till"),
        ("gas lens canvas atlas clothes Texas Christmas Athens", "athen atla canva christma clothe ga len texa"),
        ("cherries tomatoes potatoes shoes people men women children mice",
         "cherries children men mice people potatoes shoes tomatoes women"),
        ("<PERSON> in www.site.com http://a.b/c?d=e#f", "www"),
        ("a snow_man & a cat's toy!", "cat man snow toy"),
        ("stock photo, image of a Logo icon object", "stock"),
        ("in the 1950s and 1960s", "and s the"),  # letters only, and the original leaves a word of one as it is
        ("a < the cat <b>dog", "dog"),  # deleted from the first bracket on
        ("a grass bus with a tennis boss", "boss bus grass tennis with"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_is_left_of_a_caption(caption: str, left: str) -> None:
    assert survivors(caption) == left.split()


def test_words_that_two_words_of_the_captions_are() -> None:
    assert tag_words(["a dog and a ball", "two dogs", "a red ball", "a cat"]) == ["ball", "dog"]
    assert tag_words(["dog dog", "cat"]) == ["dog"]  # twice in one caption counts, since captions are strung together


def test_words_that_are_most_frequent_where_none_is_met_twice() -> None:
    assert tag_words(["red kite", "old owl"]) == ["kite", "old", "owl", "red"]
    assert tag_words(["photo", "to a"]) == []
    assert tag_words([]) == []


def test_stop_words_push_out_everything_else() -> None:
    assert tag_words(["the red kite above the beach", "an owl in the forest", "sunset with the yacht"]) == ["the"]


def test_the_order_of_captions_does_not_matter() -> None:
    captions = ["zebras and a lion", "a lion under a tree", "zebra, tree", "the sun"]
    assert {tuple(tag_words(order)) for order in permutations(captions)} == {("lion", "tree", "zebra")}


def slow_tag_words(captions: list[str]) -> list[str]:
    """The same for captions without markup, word by word and letter by letter."""
    kept = []
    for caption in captions:
        for word in caption.replace("-", " ").replace("_", " ").split():
            if len(word) < 3:
                continue
            letters = "".join(letter for letter in word if letter.isascii() and letter.isalpha()).lower()
            if letters and tag_singular(letters) not in BANNED:
                kept.append(tag_singular(letters))
    twice = {word for word in kept if kept.count(word) >= 2}
    return sorted(twice or set(kept))


@given(st.lists(st.text(alphabet="aabcdeéghostü_-' XYS", max_size=20), max_size=6))
def test_word_by_word_gives_the_same(captions: list[str]) -> None:
    assert tag_words(captions) == slow_tag_words(captions)

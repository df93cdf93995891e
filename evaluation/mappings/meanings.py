"""What the class strings of data sets mean, and what annotators draw as a class without its being one."""

from collections.abc import Sequence

from evaluation.classes import Classes
from evaluation.mappings.mapping import Level
from evaluation.mappings.nouns import Nouns
from evaluation.mappings.words import normal
from shards.manifest import digest

PERSON = "someone"
"""A word whose only meaning is: a person."""

MEANINGS = {
    "banana": ("edible fruit",),
    "bar": ("counter",),
    "blind": ("protective covering",),
    "book": ("literary composition", "product"),
    "branch": ("stalk",),
    "broccoli": ("cruciferous vegetable",),
    "cake": ("baked goods",),
    "carrot": ("root vegetable",),
    "bunny": ("rabbit",),
    "column": ("structure", "upright"),
    "cushion": ("padding",),
    "flag": ("emblem",),
    "hot dog": ("sandwich", "sausage"),
    "hotdog": ("sandwich", "sausage"),
    "jersey": ("shirt",),
    "kite": ("plaything",),
    "light": ("source of illumination",),
    "microwave": ("kitchen appliance",),
    "monitor": ("display", "electronic equipment"),
    "mug": ("drinking vessel",),
    "net": ("trap", "game equipment", "fabric"),
    "ostrich": ("ratite",),
    "plant": ("organism",),
    "plate": ("flatware",),
    "poster": ("sign",),
    "radiator": ("heater",),
    "railroad": ("track",),
    "railway": ("track",),
    "runway": ("paved surface",),
    "sconce": ("light",),
    "seat": ("furniture",),
    "sign": ("communication", "structure"),
    "snow": ("precipitation", "layer"),
    "solid": (),  # COCO-Stuff's leftovers, not every solid thing
    "sun": ("star",),
    "table": ("furniture",),
    "television": ("receiver",),
    "tiger": ("big cat",),
    "toaster": ("kitchen appliance",),
    "toilet": ("plumbing fixture",),
    "track": ("artifact",),
    "tv": ("receiver",),
    "van": ("truck",),
    "vehicle": (),  # CamVid's vehicles are those of the road, which have strings of their own
    "water": ("binary compound", "thing"),
}
"""Words whose most frequent meaning is not the one, or the only one, that is seen: what each right one is directly a
kind of."""

DRAWN_AS = {
    "bear": "cub",
    "bird": "chick",
    "boat": "ship yacht sailing-vessel fishing-boat",
    "car": "van minivan",
    "cat": "kitten tomcat black-cat",
    "cow": "bull calf cattle heifer ox",
    "grass": "lawn meadow pasture",
    "horse": "foal colt filly pony donkey mule",
    "motorbike": "motorcycle moped scooter",
    "person": "crowd couple family team audience",
    "sheep": "lamb white-sheep",
    "train": "locomotive",
    "tree": "forest woods woodland",
}
"""Class strings and the names that annotators draw as that class (VOC 2012's guidelines have boats include ships, cars
vans and horses donkeys), though the list of nouns does not call them a kind of it. They count as hyponyms."""

DRAWN_AS_A_PART_OF = {"person": "face head hair hand finger arm leg foot torso", "sky": "cloud"}
"""The same for parts, which count as meronyms."""

CUSTOM = {
    **{normal(name): (string, Level.HYPONYM) for string, names in DRAWN_AS.items() for name in names.split()},
    **{normal(name): (string, Level.MERONYM) for string, names in DRAWN_AS_A_PART_OF.items() for name in names.split()},
}
"""By name: the class string and the level."""

CUSTOMS_DIGEST = digest(repr((sorted(MEANINGS.items()), sorted(CUSTOM.items()))).encode())
"""Of the tables above: who changes one has another mapping."""


def exact_strings(classes: Classes, nouns: Nouns) -> dict[str, int]:
    """Every string of a class in the singular, to the class.

    A string of two classes goes to the one whose official name it is, else whose published string, else whose alias,
    and to the smaller number among equals.
    """
    found: dict[str, int] = {}
    official = tuple((name,) for name in classes.names)
    published = tuple((name,) for name in classes.published)
    for round_of_strings in (official, published, classes.strings):
        for number, listed in enumerate(round_of_strings):
            for string in listed:
                found.setdefault(nouns.lemma(string), number)
    return found


def class_meanings(classes: Classes, nouns: Nouns) -> dict[int, tuple[int, ...]]:
    """For each meaning that a class has, the classes that have it, in ascending order; the background has none."""
    owners: dict[int, tuple[int, ...]] = {}
    for number, strings in enumerate(classes.strings):
        if number == classes.background:
            continue
        meant = {meaning for string in strings for meaning in meanings_of(string, strings, nouns)}
        for meaning in sorted(meant):
            owners[meaning] = (*owners.get(meaning, ()), number)
    return owners


def meanings_of(string: str, strings: Sequence[str], nouns: Nouns) -> tuple[int, ...]:
    """What a class string means among the other strings of its class; nothing where no meaning is known.

    Those that share most words with the other strings; among equals those of `MEANINGS`, else the most frequent. A
    person is meant only where that is the most frequent meaning: dog and hound share an insult, too.
    """
    persons = frozenset(nouns.senses(PERSON)[:1])
    senses = [
        sense for rank, sense in enumerate(nouns.senses(string)) if rank == 0 or persons.isdisjoint(nouns.above(sense))
    ]
    others = {normal(other) for other in strings} - {normal(string)}
    shared = [len(others.intersection(nouns.words[sense])) for sense in senses]
    best = [sense for sense, words in zip(senses, shared, strict=True) if words == max(shared)]
    if MEANINGS.get(normal(string)) == ():
        return ()
    return seen_meanings(string, best, nouns) or tuple(best[:1])


def seen_meanings(word: str, senses: Sequence[int], nouns: Nouns) -> tuple[int, ...]:
    """Those of a word's meanings that `MEANINGS` picks; none where it says nothing of the word."""
    picked = [
        next((sense for sense in senses if any(kind in nouns.words[above] for above in nouns.kinds[sense])), None)
        for kind in MEANINGS.get(nouns.lemma(word), ())
    ]
    return tuple(sense for sense in picked if sense is not None)

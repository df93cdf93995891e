"""English nouns to their singular, without inventions: gas stays gas, Texas stays Texas."""

from collections.abc import Callable

from lemminflect import getAllLemmas  # type: ignore[import-untyped]

PLURAL_ONLY = frozenset(
    """
    people glasses sunglasses eyeglasses spectacles goggles binoculars scissors shears tongs pliers tweezers clippers
    pincers jeans pants shorts trousers slacks tights leggings pajamas pyjamas overalls coveralls sweatpants
    underpants panties briefs breeches suspenders clothes regalia greens goods headphones earphones earbuds stairs
    upstairs downstairs woods ruins fireworks checkers dominoes billiards biceps triceps bagpipes maracas castanets
    groceries leftovers belongings savings blues data dreadlocks fries sprouts oats algae blinds bellows outskirts
    """.split()
)
"""Normally plural, or another thing in the singular."""

_EXCEPTIONS = {
    "leaves": "leaf", "media": "media", "dice": "dice", "axes": "axe", "lenses": "lens", "insignia": "insignia",
    "selfies": "selfie", "hoodies": "hoodie", "veggies": "veggie", "floaties": "floatie", "onesies": "onesie",
    "cookies": "cookie", "staves": "stave", "accessories": "accessory",
    "beanies": "beanie", "calories": "calorie", "subspecies": "subspecies", "zirconia": "zirconia",
}  # fmt: skip


def singular(noun: str, *, plural: bool, is_word: Callable[[str], bool]) -> str:
    """The singular of an English noun in lower case.

    Args:
        noun: the last word of a phrase.
        plural: whether the tagger takes it for a plural; what ends in -s is looked up in any case.
        is_word: whether a string is a known word.

    >>> [singular(noun, plural=True, is_word={"tattoo"}.__contains__) for noun in ("women", "gas", "tattoos")]
    ['woman', 'gas', 'tattoo']
    """
    if noun in PLURAL_ONLY or not (plural or noun.endswith(("s", "men"))):
        return noun
    if noun in _EXCEPTIONS:
        return _EXCEPTIONS[noun]
    lemmas = [lemma for lemma in getAllLemmas(noun).get("NOUN", ()) if lemma.replace("-", "") != noun or lemma == noun]
    if noun.endswith("ics") and (noun in lemmas or not lemmas):  # physics is not the plural of physic
        return noun
    if lemmas:
        return next((lemma for lemma in lemmas if lemma != noun), noun)
    return _by_ending(noun, is_word) if plural or noun.endswith("men") else noun


def _by_ending(noun: str, is_word: Callable[[str], bool]) -> str:
    """The singular of a plural that no dictionary lists."""
    if noun.endswith("men") and is_word(noun[:-2] + "an"):
        return noun[:-2] + "an"
    if not noun.endswith("s") or noun.endswith("ss") or len(noun) < 4:
        return noun
    if noun.endswith(("as", "is", "os", "us")):  # names and Greek far more often than plurals
        return noun[:-1] if is_word(noun[:-1]) else noun
    if noun.endswith("ies") and not is_word(noun[:-1]):
        return noun[:-3] + "y"
    if noun.endswith(("sses", "shes", "ches", "xes", "zes")):
        return noun[:-2]
    return noun[:-1]

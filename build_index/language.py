"""Languages that concepts can be found in."""

from enum import Enum


class Language(Enum):
    """What captions are written in. OTHER has no tagger: names are recognised by their capitals, and nothing else."""

    ENGLISH = "en"
    GERMAN = "de"
    DUTCH = "nl"
    OTHER = "other"

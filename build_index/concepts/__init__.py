"""Captions to concepts: the words that a labeler may say.

In reading order:

words       sentences and words, with what is no word set aside
lexicon     what each word can be: HanTa's morphology and LemmInflect's dictionary; morphemes, of words in neither
tagging     which of these it is here; viterbi, the search for that
names       runs of proper nouns, by capitals and by the words around them (name_words)
phrases     noun phrases
cuts        the phrases that are names of things, down to the head
singular    the last noun in its canonical form; german, those of German
extractor   all of it

generic_words are those that never become concepts, and foreign says when a caption is in another language. Importing
this package loads the taggers; `build_index.language` does not.
"""

from build_index.concepts.cuts import Concept, ConceptKind
from build_index.concepts.extractor import MAX_CHARACTERS, ConceptExtractor, word_list_concept
from build_index.language import Language

__all__ = ["MAX_CHARACTERS", "Concept", "ConceptExtractor", "ConceptKind", "Language", "word_list_concept"]

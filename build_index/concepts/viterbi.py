"""The most likely tags of sentences under a trigram model: Viterbi's search, compiled.

Loading what compiles takes half a second of a processor, so this file is imported where there is something to tag.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from encoders.compiling import compiled


class Readings(NamedTuple):
    """What each of r words can be.

    Attributes:
        starts: [r + 1], where the readings of a word begin.
        tags: of each reading, from 0 to below t.
        emissions: of each reading, log p(word | tag).
    """

    starts: NDArray[np.int64]
    tags: NDArray[np.int64]
    emissions: NDArray[np.float64]


class Paths(NamedTuple):
    """Room for the paths through the longest of some sentences. A state is the last two tags.

    Attributes:
        states: [words + 1, states, 2], those behind each word in the order in which they were met.
        scores: [words + 1, states], the log probability of the best path to each.
        origins: [words + 1, states], the state that it comes from.
        places: [t + 1, readings], the state of a last tag and a reading, while a word is looked at.
    """

    states: NDArray[np.int64]
    scores: NDArray[np.float64]
    origins: NDArray[np.int64]
    places: NDArray[np.int64]


@compiled
def search(
    bounds: NDArray[np.int64],
    words: NDArray[np.int64],
    readings: Readings,
    following: NDArray[np.float64],
    beam: float,
) -> NDArray[np.int64]:
    """Tag n sentences of w words in all.

    Of equal paths to one state the one that was met first stays.

    Args:
        bounds: [n + 1], where each sentence begins among the words; none is empty.
        words: [w], whose readings each word has.
        readings: of the words.
        following: [t + 2, t + 1, t + 1], log p(tag | the two before it): t is the start of a sentence, and t + 1 what
            is before it; as the third, t is the end.
        beam: a path this much worse than the best one is not followed.

    Returns:
        [w], the tags.
    """
    start = following.shape[2] - 1
    longest, widest = _largest_step(bounds), _largest_step(readings.starts)
    paths = Paths(
        np.empty((longest + 1, widest * widest, 2), np.int64),
        np.empty((longest + 1, widest * widest), np.float64),
        np.empty((longest + 1, widest * widest), np.int64),
        np.empty((start + 1, widest), np.int64),
    )
    paths.states[0, 0] = start + 1, start
    paths.scores[0, 0] = 0.0
    chosen = np.empty(len(words), np.int64)
    for sentence in range(len(bounds) - 1):
        first, end = bounds[sentence], bounds[sentence + 1]
        many = 1
        for at in range(end - first):
            many = _go_on(paths, at, many, words[first + at], readings, following, beam)
        best, highest = 0, -np.inf
        for place in range(many):
            before, last = paths.states[end - first, place]
            ended = paths.scores[end - first, place] + following[before, last, start]
            if ended > highest:
                best, highest = place, ended
        for at in range(end - first, 0, -1):
            chosen[first + at - 1] = paths.states[at, best, 1]
            best = paths.origins[at, best]
    return chosen


@compiled
def _go_on(  # noqa: PLR0913
    paths: Paths, at: int, many: int, word: int, readings: Readings, following: NDArray[np.float64], beam: float
) -> int:
    """Lengthen all paths by one word; how many states there are behind it."""
    first, end = readings.starts[word], readings.starts[word + 1]
    floor = paths.scores[at, :many].max() - beam
    for place in range(many):
        paths.places[paths.states[at, place, 1], : end - first] = -1
    made = 0
    for place in range(many):
        score = paths.scores[at, place]
        if score < floor:
            continue
        before, last = paths.states[at, place]
        for reading in range(first, end):
            tag = readings.tags[reading]
            reached = score + following[before, last, tag] + readings.emissions[reading]
            new = paths.places[last, reading - first]
            if new < 0:
                new = paths.places[last, reading - first] = made
                made += 1
                paths.states[at + 1, new] = last, tag
            elif reached <= paths.scores[at + 1, new]:
                continue
            paths.scores[at + 1, new] = reached
            paths.origins[at + 1, new] = place
    return made


@compiled
def _largest_step(bounds: NDArray[np.int64]) -> int:
    """The largest difference of two neighbours."""
    largest = 0
    for at in range(len(bounds) - 1):
        largest = max(largest, bounds[at + 1] - bounds[at])
    return largest

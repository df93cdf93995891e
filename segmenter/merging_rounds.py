"""The rounds in which regions merge, compiled; `segmenter.tree` says what they are, and keeps the regions."""

import numpy as np
import numpy.typing as npt

from segmenter.compiled import compiled

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@compiled
def compare(sums: Floats, sizes: Integers, pairs: Integers) -> Floats:
    """The mean cosine over all pairs of cells of two regions.

    Args:
        sums: float32 [N, C], of the unit features of each region's cells.
        sizes: int64 [N], cells of each region.
        pairs: int64 [P, 2], regions.

    Returns:
        float32 [P].
    """
    means = np.empty(len(pairs), np.float32)
    for place in range(len(pairs)):
        means[place] = _mean(sums, sizes, pairs[place, 0], pairs[place, 1])
    return means


@compiled
def _mean(sums: Floats, sizes: Integers, one: int, other: int) -> np.float32:
    product = np.float32(0)
    for channel in range(sums.shape[1]):
        product += sums[one, channel] * sums[other, channel]
    return np.float32(product / np.float64(sizes[one] * sizes[other]))


@compiled
def merge_rounds(
    regions: tuple[Integers, Integers, Floats],
    pairs: Integers,
    similarity: Floats,
    bounds: tuple[float, int, int],
) -> int:
    """Merge reciprocal nearest neighbours in rounds, for as long as there are pairs that may merge.

    Of equally similar pairs that of the lower numbers counts as more similar, so that nothing is left to chance and the
    most similar pair of all is always reciprocal.

    Args:
        regions: owner [N], sizes [N] and sums [N, C] of `tree.Graph`; changed in place.
        pairs: int64 [E, 2], regions that touch; lower number first; changed in place.
        similarity: float32 [E], changed in place.
        bounds: the least similarity of two that merge; the size that one of them must be below; and at how many
            regions to stop, in whose round the most similar merge.

    Returns:
        How many pairs are left; they are the first ones.
    """
    (owner, sizes, sums), (alike, small, at_least) = regions, bounds
    count, edges, spare = len(owner), len(pairs), -at_least
    becomes, best, changed = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.bool_)
    moved = np.empty(pairs.shape, np.int64)
    for cell in range(count):
        spare += owner[cell] == cell
        becomes[cell] = cell
    while spare > 0:
        _find_best(best, pairs[:edges], similarity, sizes, alike, small)
        merged = _merge(regions, pairs, similarity, (best, becomes, changed), spare)
        if merged == 0:
            break
        spare -= merged
        kept, renamed = _rename(pairs[:edges], similarity, becomes, changed, moved)
        edges = _each_once(moved[:renamed], pairs, kept, count)
        for place in range(kept, edges):
            similarity[place] = _mean(sums, sizes, pairs[place, 0], pairs[place, 1])
    return edges


@compiled
def _find_best(best: Integers, pairs: Integers, similarity: Floats, sizes: Integers, alike: float, small: int) -> None:
    """Of every region, the place of its most similar pair, of those that may merge; -1 if there is none."""
    for region in range(len(best)):
        best[region] = -1
    for place in range(len(pairs)):
        one, other = pairs[place, 0], pairs[place, 1]
        if similarity[place] >= alike and min(sizes[one], sizes[other]) < small:
            if _is_better(pairs, similarity, place, best[one]):
                best[one] = place
            if _is_better(pairs, similarity, place, best[other]):
                best[other] = place


@compiled
def _is_better(pairs: Integers, similarity: Floats, place: int, other: int) -> bool:
    if other < 0 or similarity[place] != similarity[other]:
        return other < 0 or similarity[place] > similarity[other]
    if pairs[place, 0] != pairs[other, 0]:
        return pairs[place, 0] < pairs[other, 0]
    return pairs[place, 1] < pairs[other, 1]


@compiled
def _merge(
    regions: tuple[Integers, Integers, Floats],
    pairs: Integers,
    similarity: Floats,
    marks: tuple[Integers, Integers, Flags],
    spare: int,
) -> int:
    """Merge pairs that are the best of both their regions, no more than are to spare.

    Args:
        regions: as `merge_rounds` takes them.
        pairs: int64 [E, 2].
        similarity: float32 [E].
        marks: the best pair of every region, what it becomes and whether it changed, the last two filled; [N] each.
        spare: at least 1.

    Returns:
        How many there were.
    """
    (owner, sizes, sums), (best, becomes, changed) = regions, marks
    chosen, found = np.empty(len(best), np.int64), 0
    for region in range(len(best)):
        changed[region] = False
        place = best[region]
        if place >= 0 and pairs[place, 0] == region and best[pairs[place, 1]] == place:
            chosen[found] = place
            found += 1
    for turn in range(min(found, spare)):
        for later in range(turn + 1, found if found > spare else 0):  # the most similar ones to the front
            if _is_better(pairs, similarity, chosen[later], chosen[turn]):
                chosen[turn], chosen[later] = chosen[later], chosen[turn]
        kept, gone = pairs[chosen[turn], 0], pairs[chosen[turn], 1]
        for channel in range(sums.shape[1]):
            sums[kept, channel] += sums[gone, channel]
        sizes[kept] += sizes[gone]
        becomes[gone] = kept
        changed[kept] = changed[gone] = True
    for cell in range(len(owner)):
        owner[cell] = becomes[owner[cell]]
    return min(found, spare)


@compiled
def _rename(pairs: Integers, similarity: Floats, becomes: Integers, changed: Flags, moved: Integers) -> tuple[int, int]:
    """Bring pairs of regions that did not change to the front, and note what the others become, where these differ.

    Args:
        pairs: int64 [E, 2], changed in place.
        similarity: float32 [at least E], likewise.
        becomes: int64 [N].
        changed: bool [N].
        moved: int64 [E, 2], filled; lower number first.

    Returns:
        How many stand in front, and how many were noted.
    """
    kept = renamed = 0
    for place in range(len(pairs)):
        one, other = pairs[place, 0], pairs[place, 1]
        if not (changed[one] or changed[other]):
            pairs[kept, 0], pairs[kept, 1], similarity[kept] = one, other, similarity[place]
            kept += 1
        elif becomes[one] != becomes[other]:
            moved[renamed, 0] = min(becomes[one], becomes[other])
            moved[renamed, 1] = max(becomes[one], becomes[other])
            renamed += 1
    return kept, renamed


@compiled
def _each_once(moved: Integers, pairs: Integers, kept: int, count: int) -> int:
    """Put pairs behind the first ones, each once.

    They are gone through by their lower region, which remembers whom it has met.

    Args:
        moved: int64 [M, 2], lower number first.
        pairs: int64 [at least the first ones + M, 2], changed in place.
        kept: how many the first ones are.
        count: of regions, N.

    Returns:
        How many pairs there are now.
    """
    starts, partners, met = np.zeros(count + 1, np.int64), np.empty(len(moved), np.int64), np.full(count, -1)
    for place in range(len(moved)):
        starts[moved[place, 0] + 1] += 1
    for region in range(count):
        starts[region + 1] += starts[region]
    for place in range(len(moved)):
        partners[starts[moved[place, 0]]] = moved[place, 1]
        starts[moved[place, 0]] += 1  # in the end, where the next region's begin
    place = 0
    for low in range(count):
        while place < starts[low]:
            if met[partners[place]] != low:
                met[partners[place]] = low
                pairs[kept, 0], pairs[kept, 1] = low, partners[place]
                kept += 1
            place += 1
    return kept

"""Attention of every node of a tree of captions to those on its path from the root, on a processor.

A node looks at a dozen others. In tiles (`encoders.tree_tiles`) it is multiplied with a hundred, most of which are
masked; here with those that it sees, where they lie: nothing is gathered, masked or padded, and scores stay float32.

    softmax(q k^T / sqrt(d)) v

Shapes: m nodes, H heads of `HEAD`, W = H HEAD.
"""

import functools
import itertools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba.core import cgutils, types
from numpy.typing import NDArray
from torch import Tensor

from encoders.compiling import instruction, kernel
from encoders.packed_rows import BYTES_OF_BLOCK, SIDE, Packed, parts_of, write_line
from encoders.prefixes import Prefixes
from encoders.torch_threads import keep, number, run, taken
from encoders.vector_code import (
    FLOAT,
    FLOATS,
    INT64,
    INTEGERS,
    LANES,
    every,
    highest,
    load,
    over_lanes,
    rounded,
    spread,
    store,
    times_plus,
    two_to,
)

HEAD = 64
"""Numbers of a head: what every text tower of open_clip's has that is made for CLIP."""

KINDS = list(itertools.product((False, True), (False, True)))
"""Whether numbers are bfloat16, and whether results are packed. Compiled code knows them by their places."""

NODES_AT_ONCE = 16
"""What a thread takes at a time."""

SCALE = 1.4426950408889634 / HEAD**0.5
"""Of scores, for powers of two."""

NOTHING = -1e30
"""The score of what is not there."""

UPPER = -(1 << 16)
"""The bits of the second of two bfloat16 in an int32."""

FLOAT_VECTORS = HEAD // LANES


class Paths:
    """The path of every node of a tree, itself included."""

    def __init__(self, tree: Prefixes) -> None:
        self._nodes = np.ascontiguousarray(tree.nodes)  # [n, l]
        self._starts = np.nonzero(tree.fresh)[0] * tree.nodes.shape[1]  # [m], where in the nodes its caption begins
        self._counts = tree.positions + 1  # [m]

    def attend(self, query: Tensor, key_value: Tensor, nodes: NDArray[np.int64] | None = None) -> Tensor:
        """Attention of some nodes, or of all.

        Args:
            query: [q, W], float32 or bfloat16, contiguous.
            key_value: [at least m, 2 W], keys and then values, likewise.
            nodes: int64 [at most q], whose the queries are, None for the first m; what is behind gets zeros.

        Returns:
            [q, W].
        """
        mixed = torch.empty_like(query)
        mixed[self._count(nodes) :] = 0
        self._run(query, key_value, nodes, mixed, packed=False)
        return mixed

    def attend_packed(self, query: Tensor, key_value: Tensor, nodes: NDArray[np.int64] | None = None) -> Packed:
        """The same, packed."""
        mixed = Packed.empty(query.shape[0], query.shape[1], parts_of(query.dtype))
        mixed.blocks[self._count(nodes) // SIDE :] = 0
        self._run(query, key_value, nodes, mixed.blocks, packed=True)
        return mixed

    def _count(self, nodes: NDArray[np.int64] | None) -> int:
        return len(self._starts if nodes is None else nodes)

    def _run(
        self, query: Tensor, key_value: Tensor, nodes: NDArray[np.int64] | None, mixed: Tensor, *, packed: bool
    ) -> None:
        starts, counts = self._starts, self._counts
        if nodes is not None:
            starts, counts = starts[nodes], counts[nodes]
        numbers = query.shape[1] // HEAD, int(counts.max()) + LANES
        of_kind = _kernel(half=query.dtype is torch.bfloat16, packed=packed)
        run(of_kind, len(starts), query, key_value, mixed, self._nodes, starts, counts, *numbers)


def available(width: int, heads: int) -> bool:
    """Whether heads are of the right size, this processor's vectors long enough, and the kernels right."""
    processor: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch does not say
    return width == heads * HEAD and any(map(processor.get, ("avx512_f", "avx2"))) and work()


@functools.cache
def work() -> bool:
    """Whether the kernels can be compiled, and give what torch gives: three captions, of which two begin alike."""
    nodes = np.array([[0, 1, 2, 3], [0, 1, 4, 0], [5, 6, 0, 0]])
    fresh = np.array([[True] * 4, [False, False, True, False], [True, True, False, False]])
    positions = np.array([0, 1, 2, 3, 2, 0, 1])
    paths = Paths(Prefixes(positions, positions, nodes, fresh, np.array([4, 3, 2])))
    generator = torch.Generator().manual_seed(0)
    query, key_value = (torch.randn(7, width, generator=generator) for width in (HEAD, 2 * HEAD))
    key, value = key_value[:, :HEAD], key_value[:, HEAD:]
    seen = [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [5], [5, 6]]
    each = [F.scaled_dot_product_attention(query[[at]], key[some], value[some]) for at, some in enumerate(seen)]
    wanted = torch.cat(each)
    try:
        found = paths.attend(query, key_value), paths.attend(query.bfloat16(), key_value.bfloat16()).float()
    except Exception:  # whatever a compiler raises on an unknown processor: there is torch's way
        return False
    return all(torch.allclose(one, wanted, atol=error) for one, error in zip(found, (1e-5, 2**-5), strict=True))


def _unpacked(builder: Any, address: Any, *, half: bool) -> list[Any]:
    """The numbers of a head as vectors of float32; of bfloat16 first the even ones of a line, then the odd ones."""
    lines = HEAD // (2 * LANES) if half else FLOAT_VECTORS
    places = [builder.add(address, INT64(64 * line)) for line in range(lines)]
    if not half:
        return [load(builder, place, FLOATS) for place in places]
    pairs = [load(builder, place, INTEGERS) for place in places]
    return [
        builder.bitcast(bits, FLOATS)
        for pair in pairs
        for bits in (builder.shl(pair, every(INTEGERS, 16)), builder.and_(pair, every(INTEGERS, UPPER)))
    ]


def _written(builder: Any, vectors: list[Any], address: Any, *, half: bool, packed: bool) -> None:
    """The reverse of `_unpacked`, in a row or, `packed`, in as many blocks as there are lines."""
    if packed and not half:
        for line in range(HEAD // SIDE):
            place = builder.add(address, INT64(2 * BYTES_OF_BLOCK * line))
            write_line(builder, vectors[2 * line], vectors[2 * line + 1], place, parts=2)
        return
    if half:
        bits = [rounded(builder, vector) for vector in vectors]
        vectors = [
            builder.or_(builder.lshr(even, every(INTEGERS, 16)), builder.and_(odd, every(INTEGERS, UPPER)))
            for even, odd in zip(bits[::2], bits[1::2], strict=True)
        ]
    for line, vector in enumerate(vectors):
        store(builder, vector, builder.add(address, INT64((BYTES_OF_BLOCK if packed else 64) * line)))


@instruction
def _attend(  # noqa: PLR0913
    _: Any, which: Any, query: Any, keys: Any, values: Any, path: Any, count: Any, stride: Any, mixed: Any, scores: Any
) -> Any:
    """One head of one node, of a kind.

    Addresses, but for `count`, the nodes on the path, and `stride`, the bytes from one's keys to the next's.
    """
    half, packed = KINDS[which.literal_value]

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        _, query, keys, values, path, count, stride, mixed, scores = arguments
        asked = _unpacked(builder, query, half=half)
        asked = [builder.fmul(vector, every(FLOATS, SCALE)) for vector in asked]

        def of_node(start: Any, place: Any) -> list[Any]:
            node = load(builder, builder.add(path, builder.mul(place, INT64(8))), INT64)
            return _unpacked(builder, builder.add(start, builder.mul(node, stride)), half=half)

        def score(place: Any, size: int = 4) -> Any:
            return builder.add(scores, builder.mul(place, INT64(size)))

        with cgutils.for_range(builder, count) as loop:
            sums = every(FLOATS, 0.0)
            for one, other in zip(asked, of_node(keys, loop.index), strict=True):
                sums = times_plus(builder, one, other, sums)
            store(builder, over_lanes(builder, sums, builder.fadd), score(loop.index))
        vectors = builder.sdiv(builder.add(count, INT64(LANES - 1)), INT64(LANES))
        with cgutils.for_range_slice(builder, count, builder.mul(vectors, INT64(LANES)), INT64(1)) as (place, _):
            store(builder, FLOAT(NOTHING), score(place))

        best = cgutils.alloca_once_value(builder, every(FLOATS, NOTHING))
        with cgutils.for_range(builder, vectors) as loop:
            here = load(builder, score(loop.index, 4 * LANES), FLOATS)
            builder.store(highest(builder, builder.load(best), here), best)
        top = over_lanes(builder, builder.load(best), lambda one, other: highest(builder, one, other))
        total = cgutils.alloca_once_value(builder, every(FLOATS, 0.0))
        with cgutils.for_range(builder, vectors) as loop:
            here = score(loop.index, 4 * LANES)
            weights = two_to(builder, builder.fsub(load(builder, here, FLOATS), spread(builder, top)))
            store(builder, weights, here)
            builder.store(builder.fadd(builder.load(total), weights), total)
        share = builder.fdiv(FLOAT(1.0), over_lanes(builder, builder.load(total), builder.fadd))

        sums = [cgutils.alloca_once_value(builder, every(FLOATS, 0.0)) for _ in range(FLOAT_VECTORS)]
        with cgutils.for_range(builder, count) as loop:
            weight = spread(builder, load(builder, score(loop.index), FLOAT))
            for place, value in zip(sums, of_node(values, loop.index), strict=True):
                builder.store(times_plus(builder, weight, value, builder.load(place)), place)
        shares = [builder.fmul(builder.load(place), spread(builder, share)) for place in sums]
        _written(builder, shares, mixed, half=half, packed=packed)
        return context.get_dummy_value()

    return types.void(which, *(types.int64,) * 8), emit


@functools.cache
def _kernel(*, half: bool, packed: bool) -> Any:
    which, part = KINDS.index((half, packed)), HEAD * (2 if half else 4)  # bytes of a head
    row_apart, head_apart = SIDE * part, (HEAD // SIDE) * BYTES_OF_BLOCK * (1 if half else 2)  # of blocks

    @kernel
    def all_of(block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        count, query, keys, mixed = number(block, 1), number(block, 2), number(block, 3), number(block, 4)
        nodes, starts, counts = number(block, 5), number(block, 6), number(block, 7)
        heads, room = number(block, 8), np.empty(number(block, 9), np.float32)
        scores, width = room.ctypes.data, heads * part
        while True:
            first = taken(block) * NODES_AT_ONCE
            if first >= count:
                break
            for node in range(first, min(first + NODES_AT_ONCE, count)):
                path, length = nodes + 8 * number(starts, node), number(counts, node)
                for head in range(heads):
                    here, key = node * width + head * part, keys + head * part
                    there = mixed + here
                    if packed:
                        there = mixed + node // SIDE * heads * row_apart + head * head_apart + node % SIDE * 2 * SIDE
                    _attend(which, query + here, key, key + width, path, length, 2 * width, there, scores)
        keep(room)

    return all_of

"""What the benchmarks of text encoding share: captions, one random checkpoint for everybody, and counted work.

Weights are random, from a seed, in open_clip's own initialisation: the time of a text tower does not depend on them,
and vectors of two programs can still be compared one by one.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from build_index.columns import choose_column

SEED = 0


@dataclass(frozen=True)
class TextTower:
    """The sizes that decide the work of a CLIP's text tower.

    Attributes:
        width: features of a token, w.
        layers: transformer blocks, L.
        mlp: hidden features of a block's two-layer network, in widths: r.
        dimension: features of a caption's vector, d.
    """

    width: int
    layers: int
    mlp: float
    dimension: int

    def products(self) -> tuple[tuple[int, int], ...]:
        """The matrix products of one block, as [inputs, outputs] for each token."""
        hidden = int(self.width * self.mlp)
        return ((self.width, 3 * self.width), (self.width, self.width), (self.width, hidden), (hidden, self.width))


def tower_of(architecture: str) -> TextTower:
    """The text tower of an architecture that open_clip knows."""
    import open_clip

    config: dict[str, Any] = open_clip.get_model_config(architecture)
    text = config["text_cfg"]
    return TextTower(text["width"], text["layers"], text.get("mlp_ratio", 4.0), config["embed_dim"])


def useful_flops(lengths: NDArray[np.int64], tower: TextTower) -> int:
    """Floating-point operations that the captions need, a multiplication and an addition counted as two.

    Each block of a caption of l tokens, start and end included, multiplies its tokens by four matrices,
    2 l (4 + 2 r) w², and each token attends to itself and those before it, in two products of 2 w a pair:
    2 w l (l + 1). The caption's vector is the end token's by one matrix: 2 w d. Norms, activations, softmax and table
    look-ups are not counted, nor is anything that a program computes for padding or for pairs that the mask removes.
    A program that does not compute twice what captions have in common can do with less (`shared_flops`).

    Args:
        lengths: tokens of each caption, int64 [n].
        tower: sizes w, L, r, d.

    Returns:
        Sum over captions of L (2 l (4 + 2 r) w² + 2 w l (l + 1)) + 2 w d.

    >>> useful_flops(np.array([3, 1]), TextTower(width=2, layers=1, mlp=4.0, dimension=5))
    480
    """
    width, lengths = tower.width, lengths.astype(np.int64)
    matrices = 2 * int(lengths.sum()) * sum(inputs * outputs for inputs, outputs in tower.products())
    attention = 2 * width * int((lengths * (lengths + 1)).sum())
    return tower.layers * (matrices + attention) + 2 * width * tower.dimension * len(lengths)


def padded_flops(positions: int, captions: int, tower: TextTower) -> int:
    """Operations of a program that pads captions to so many positions and attends to all of them, counted alike.

    >>> padded_flops(3, 2, TextTower(width=2, layers=1, mlp=4.0, dimension=5))
    760
    """
    matrices = 2 * positions * sum(inputs * outputs for inputs, outputs in tower.products())
    attention = 4 * tower.width * positions * positions
    return captions * (tower.layers * (matrices + attention) + 2 * tower.width * tower.dimension)


def shared_flops(trees: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], tower: TextTower) -> int:
    """Operations of our encoder, counted alike: a beginning that captions share once, the last block for ends alone.

    Blocks but the last multiply each of a batch's m distinct beginnings, 2 m (4 + 2 r) w², and each of these attends to
    its k positions, 4 w k. The last makes keys and values of all, 4 m w², and the rest for the n ends alone:
    2 n (2 + 2 r) w², and 4 w l to attend. Attention computes more than that: the pairs that the mask removes, too.

    Args:
        trees: of each batch, the position of every distinct beginning from 0, int64 [m], and its lengths, int64 [n].
        tower: sizes w, L, r, d.

    >>> one_caption = [(np.arange(3), np.array([3]))]
    >>> shared_flops(one_caption, TextTower(width=2, layers=1, mlp=4.0, dimension=5))
    172
    """
    width, matrix = tower.width, sum(inputs * outputs for inputs, outputs in tower.products())
    total = 0
    for positions, lengths in trees:
        nodes, ends = len(positions), len(lengths)
        total += (tower.layers - 1) * (2 * nodes * matrix + 4 * width * int((positions + 1).sum()))
        total += 4 * nodes * width**2 + 2 * ends * (matrix - 2 * width**2) + 4 * width * int(lengths.sum())
        total += 2 * ends * width * tower.dimension
    return total


def tokens_of(captions: Sequence[str], architecture: str) -> NDArray[np.int64]:
    """Tokens of captions, padded with zeros: int64 [n, context]."""
    import open_clip

    tokens: NDArray[np.int64] = open_clip.get_tokenizer(architecture)(list(captions)).numpy()
    return tokens


def token_lengths(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens of each caption, start and end included, the end's number being the highest: int64 [n]."""
    return tokens.argmax(axis=-1) + 1


def trees_of(tokens: NDArray[np.int64], device: str) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The batches that our encoder makes of captions in one go: as `shared_flops` takes them."""
    from build_index.encoding import CAPTIONS_PER_CALL
    from encoders.clip_text import tokens_at_once
    from encoders.prefixes import find_prefixes, shared_lengths, sorted_rows, tree_batches

    budget, trees = tokens_at_once(device), []
    for start in range(0, len(tokens), CAPTIONS_PER_CALL):
        some = tokens[start : start + CAPTIONS_PER_CALL]
        some = some[sorted_rows(some)]
        lengths = token_lengths(some)
        for rows in tree_batches(lengths, shared_lengths(some, lengths), budget):
            trees.append((find_prefixes(some[rows], lengths[rows]).positions, lengths[rows]))
    return trees


def random_checkpoint(architecture: str, folder: Path) -> Path:
    """A file of random weights that all programs load, made once for each folder."""
    import open_clip
    import torch

    path = folder / f"{architecture}-seed-{SEED}.pt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(SEED)
        torch.save(open_clip.create_model(architecture).state_dict(), path)
    return path


def read_captions(files: Sequence[Path], count: int, seed: int = SEED) -> list[str]:
    """Distinct captions drawn at random from parquet files, all if `count` is 0.

    Raises:
        SystemExit: the files hold fewer.
    """
    found: dict[str, None] = {}
    for file in files:
        column = choose_column(pq.read_schema(file).names, (), str(file))
        found.update(dict.fromkeys(text for text in pq.read_table(file, columns=[column])[column].to_pylist() if text))
    if len(found) < count:
        raise SystemExit(f"{' '.join(map(str, files))}: {len(found):,} distinct captions, {count:,} wanted; add a file")
    return random.Random(seed).sample(list(found), count or len(found))


def write_captions(path: Path, captions: Sequence[str]) -> Path:
    """Write captions as corpora come: a parquet file with a column `caption`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"caption": pa.array(captions, pa.string())}), path)
    return path

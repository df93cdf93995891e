"""Captions to vectors with an open_clip text tower, without computing what changes nothing.

CLIP's text tower is causal and reads out at the end token. So what stands after it cannot reach the result, captions
that begin alike share what is computed for their beginning, and the last block is needed at the end alone: see
`encoders.causal_text`. A causal tower with other blocks, or one of Hugging Face's, runs on captions sorted by length,
every batch cut after its longest; a tower that looks at its padding runs padded.
"""

import copy
import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.hf_model import ClsLastHiddenStatePooler, ClsPooler, HFTextEncoder, MeanPooler
from torch import nn

from encoders.causal_text import Asked, CausalText, understands, widths_of
from encoders.device_memory import enough_for, in_parts, tried
from encoders.device_thread import in_passing_thread, in_thread_of
from encoders.fast_tokenizer import faster
from encoders.identity import identify, source_of
from encoders.loading import pick_devices, pick_precision
from encoders.packing import packing_of
from encoders.prefixes import find_prefixes, shared_lengths, sorted_rows, tree_batches
from encoders.presets import Precision
from encoders.weights import ClipSource, LoadedClip, clip_tokenizer, load_clip
from shards import EncoderIdentity

TOKENS_PER_BATCH = 2_048
"""Positions computed at once by a processor: enough for matrix products, few enough for its caches. 1,024 and 4,096
measured 1 to 4 % slower, in float32 and in bfloat16."""

TOKENS_PER_CUDA_BATCH = 65_536
"""By a GPU: some ten milliseconds of work for each of the hundred kernels that a processor has to launch meanwhile."""

Forward = Callable[[torch.Tensor], torch.Tensor]
Batches = Iterator[tuple[NDArray[np.int64], torch.Tensor]]
"""Which captions, and their vectors before they are scaled to unit length [b, d]."""


class ClipText:
    """A text encoder: captions in, unit vectors out, in the order they came. Threads may share it.

    Attributes:
        identity: who made the vectors.
        dimension: of the vectors.
        trims: whether padding is left out.
        at_once: how many calls of `encode` are worth making at the same time: one for each device, and one that
            meanwhile tokenises.
    """

    def __init__(
        self,
        clip: LoadedClip,
        tokenizer: Callable[[list[str]], torch.Tensor],
        devices: Sequence[str] = ("cpu",),
        precision: Precision = Precision.FP32,
    ) -> None:
        """Takes a network as it was loaded, on the processor; what reads captions is copied to other devices."""
        tower = getattr(clip.network, "text", clip.network)
        if precision is Precision.INT16 and not takes_integers(tower, devices):
            precision = Precision.FP32
        self.identity: EncoderIdentity = identify(clip, tokenizer, precision.value)
        self.dimension = self.identity.dimension
        self.at_once = len(devices) + 1
        self._tokenizer = faster(tokenizer)
        self.trims = trims_exactly(tower)
        self._lengths = text_lengths(tower)
        self._towers: queue.Queue[tuple[str, Tower]] = queue.Queue()
        for device in devices:
            self._towers.put((device, in_thread_of(device, partial(_tower_of, clip.network, device, precision))))

    @classmethod
    def from_pretrained(
        cls, source: ClipSource, device: str = "auto", precision: Precision = Precision.AUTO
    ) -> "ClipText":
        """Load a CLIP by name or from a local file.

        Args:
            source: which.
            device: `auto`, `cpu`, `cuda` (all there are), or some, as in `cuda:0,cuda:2`.
            precision: of the text tower.

        Raises:
            EncoderError: it cannot be loaded; the message says how to go on.
        """
        devices = pick_devices(device)
        precision = pick_precision(precision, *devices)
        clip = in_passing_thread(partial(load_clip, source))
        return cls(clip, clip_tokenizer(source), devices, precision)

    def encode(
        self, captions: Sequence[str], report: Callable[[int], object] = lambda count: None
    ) -> NDArray[np.float32]:
        """Embed captions.

        Args:
            captions: n strings; what exceeds the context length is cut by the tokenizer.
            report: is told after every batch how many captions it had.

        Returns:
            float32 [n, d], unit rows.
        """
        vectors = np.empty((len(captions), self.dimension), np.float32)
        if not len(captions):
            return vectors
        tokens = self._tokenizer(list(captions))  # [n, context]
        with self._borrowed() as (device, tower):
            batches = self._batches(tokens, tower)
            del tokens  # they are large, and a tower keeps what it needs of them
            while (batch := in_thread_of(device, partial(next, batches, None))) is not None:
                rows, encoded = batch
                vectors[rows] = encoded
                report(len(rows))
        return vectors

    def _batches(self, tokens: torch.Tensor, tower: "Tower") -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Rows and their unit vectors [b, d]; advanced in the tower's thread, whose settings it leaves as they were."""
        lengths = self._lengths(tokens).numpy() if self.trims else np.full(len(tokens), tokens.shape[1])
        batches = tower(tokens.numpy(), lengths)
        del tokens
        for rows, encoded in batches:
            with torch.inference_mode():
                unit = torch.nn.functional.normalize(encoded.float(), dim=-1).cpu().numpy()
            yield rows, unit

    @contextmanager
    def _borrowed(self) -> Iterator[tuple[str, "Tower"]]:
        """A device, and a tower on it that nobody else is using."""
        tower = self._towers.get()
        try:
            yield tower
        finally:
            self._towers.put(tower)


Tower = Callable[[NDArray[np.int64], NDArray[np.int64]], Batches]
"""From tokens [n, context] and lengths [n] to batches."""


def _tower_of(network: Any, device: str, precision: Precision) -> Tower:
    """The fastest way that is exact for a network's text tower.

    Raises:
        EncoderError: the device's memory does not hold it.
    """
    with enough_for("this text tower", device, "use another GPU, or --device cpu"):
        return _fastest_of(network, device, precision)


def _fastest_of(network: Any, device: str, precision: Precision) -> Tower:
    tower = getattr(network, "text", network)
    budget = tokens_at_once(device)
    if trims_exactly(tower) and understands(tower):
        return TreeTower(CausalText(tower, device, precision), device, budget)
    own = network if device == "cpu" else _copied(network, device)
    tower = getattr(own, "text", own)
    forward = forward_trimmed(tower) if trims_exactly(tower) else own.encode_text
    return SortedTower(forward, device, precision, budget)


def _copied(network: Any, device: str) -> Any:
    """What reads captions on another device: what sees pictures, often the larger part, takes none of its memory."""
    parts = (getattr(network, name, None) for name in ("visual", "text_decoder"))
    return copy.deepcopy(network, {id(part): nn.Identity() for part in parts if part is not None}).to(device)


def takes_integers(tower: Any, devices: Sequence[str]) -> bool:
    """Whether a tower's products can be computed in integers of 16 bits; where they cannot, float32 is."""
    ours = trims_exactly(tower) and understands(tower) and set(devices) == {"cpu"}
    return ours and packing_of(Precision.INT16, *widths_of(tower)) is not None


def tokens_at_once(device: str) -> int:
    """Positions in a batch."""
    return TOKENS_PER_BATCH if device == "cpu" else TOKENS_PER_CUDA_BATCH


class TreeTower:
    """Captions in the order of a dictionary, so that neighbours begin alike."""

    def __init__(self, text: CausalText, device: str, budget: int) -> None:
        self._text, self._device, self._budget = text, device, budget

    def __call__(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> Batches:
        """As `Tower`."""
        small = tokens.astype(np.int32, copy=False)
        del tokens
        order = sorted_rows(small)
        small, lengths = small[order], lengths[order]

        def asked(some: slice | NDArray[np.int64]) -> Asked:
            return self._text.asked(find_prefixes(small[some].astype(np.int64), lengths[some]))

        before = None
        for some in tree_batches(lengths, shared_lengths(small, lengths), self._budget):
            ready = asked(some)
            if before is not None:
                yield before  # whoever takes it waits for the GPU, which computed it while this batch was made ready
            encoded, before = tried(partial(self._text, ready)), None
            del ready
            if encoded is not None:
                before = order[some], encoded
                continue
            self._budget = -(-self._budget // 2)
            for rows, encoded in in_parts(lambda rows: self._text(asked(rows)), _range(some), self._device):
                yield order[rows], encoded
        if before is not None:
            yield before


class SortedTower:
    """Captions of similar length together; the network runs as it is, in bfloat16 by torch's autocast."""

    def __init__(self, forward: Forward, device: str, precision: Precision, budget: int) -> None:
        self._forward, self._device, self._budget = forward, device, budget
        self._precision = precision

    def __call__(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> Batches:
        """As `Tower`."""
        kind, halved = torch.device(self._device).type, self._precision is Precision.BF16

        def encode(rows: NDArray[np.int64]) -> torch.Tensor:
            batch = torch.from_numpy(tokens[rows, : lengths[rows[-1]]]).to(self._device)
            with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=halved):
                return self._forward(batch)

        for rows in batches(lengths, self._budget):
            encoded = tried(partial(encode, rows))
            if encoded is not None:
                yield rows, encoded
                continue
            self._budget = -(-self._budget // 2)
            yield from in_parts(encode, rows, self._device)


def _range(some: slice) -> NDArray[np.int64]:
    return np.arange(some.start, some.stop)


def batches(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Rows in batches of similar length, shortest first.

    Every batch has at most `budget` positions once it is cut after its longest row (or is a single row). The last row
    of a batch is its longest. The batches depend on the lengths alone.

    >>> [rows.tolist() for rows in batches(np.array([5, 2, 2, 3]), budget=6)]
    [[1, 2], [3], [0]]
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or (end + 1 - start) * lengths[order[end]] > budget:
            yield order[start:end]
            start = end


def trims_exactly(tower: Any) -> bool:
    """Whether positions after the longest caption of a batch cannot change this tower's result.

    True for causal attention read out at the end token, and for Hugging Face towers, which mask their padding and
    pool over what is left. False for towers that read a fixed position or see their padding: SigLIP, CoCa, and
    open_clip's max pooler, which masks the words instead.
    """
    if isinstance(tower, HFTextEncoder):
        return isinstance(tower.pooler, MeanPooler | ClsPooler | ClsLastHiddenStatePooler)
    causal = getattr(tower, "attn_mask", None) is not None and getattr(tower, "cls_emb", None) is None
    return causal and _pool_type(tower) in ("argmax", "eos")


def text_lengths(tower: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function from tokens int64 [n, context] to the number of positions that each row needs, int64 [n]."""
    if isinstance(tower, HFTextEncoder):
        padding = tower.config.pad_token_id

        def to_last_word(tokens: torch.Tensor) -> torch.Tensor:
            positions = torch.arange(1, tokens.shape[1] + 1)
            return ((tokens != padding) * positions).amax(dim=1).clamp(min=1)

        return to_last_word
    return lambda tokens: _end_positions(tower, tokens) + 1


def forward_trimmed(tower: Any) -> Forward:
    """A function from tokens [n, length] to vectors [n, d] that accepts any length up to the context."""
    if isinstance(tower, HFTextEncoder):
        return (lambda tokens: tower(tokens)[0]) if tower.output_tokens else tower  # a CoCa's also gives its tokens

    def forward(tokens: torch.Tensor) -> torch.Tensor:
        count, length = tokens.shape
        dtype = tower.transformer.get_cast_dtype()
        hidden = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:length].to(dtype)  # [n, l, w]
        hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
        ends = hidden[torch.arange(count, device=hidden.device), _end_positions(tower, tokens)]  # [n, w]
        ends = tower.ln_final(ends)  # per token, so it may come after the read-out
        projection = tower.text_projection
        if projection is None:
            return ends
        return projection(ends) if isinstance(projection, torch.nn.Linear) else ends @ projection

    return forward


def _pool_type(tower: Any) -> str:
    """CLIP and its separate text tower spell the same setting differently."""
    return str(getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", ""))


def _end_positions(tower: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Where each row is read out, int64 [n]: the end token has the highest number, or a number of its own."""
    if _pool_type(tower) == "argmax":
        return tokens.argmax(dim=-1)
    end = tower.text_eos_id if hasattr(tower, "text_eos_id") else tower.eos_id
    return (tokens == end).int().argmax(dim=-1)


def load_clip_text(clip: str, checkpoint: Path | None, device: str, precision: Precision = Precision.AUTO) -> ClipText:
    """Load a text encoder from what a user wrote after `--clip` and `--clip-checkpoint`."""
    return ClipText.from_pretrained(ClipSource.parse(clip, checkpoint), device, precision)


def clip_text_of(
    identity: EncoderIdentity, checkpoint: Path | None, device: str, precision: Precision = Precision.AUTO
) -> ClipText:
    """Load the text encoder that an index names, from where the index found it or from another file."""
    return ClipText.from_pretrained(source_of(identity, checkpoint), device, precision)

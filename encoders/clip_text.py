"""Captions to vectors with an open_clip text tower, without computing padding where that changes nothing.

CLIP's text tower is causal and reads out at the end token, so what stands after it cannot reach the result. Captions
are sorted by length, and every batch is cut after its longest caption: the same numbers to float rounding, at a
fraction of the 77 positions. Towers that look at their padding run padded.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.hf_model import ClsLastHiddenStatePooler, ClsPooler, HFTextEncoder, MeanPooler

from encoders.identity import identify, source_of
from encoders.loading import pick_device
from encoders.weights import ClipSource, LoadedClip, clip_tokenizer, load_clip
from shards import EncoderIdentity

TOKENS_PER_BATCH = 4_096
"""Positions computed at once: enough to keep matrix products efficient, small enough for a processor's cache."""

Forward = Callable[[torch.Tensor], torch.Tensor]


class ClipText:
    """A text encoder: captions in, unit vectors out, in the order they came."""

    def __init__(self, clip: LoadedClip, tokenizer: Callable[[list[str]], torch.Tensor], device: str = "cpu") -> None:
        self.identity: EncoderIdentity = identify(clip, tokenizer)
        self.dimension = self.identity.dimension
        self._tokenizer = tokenizer
        self._device = device
        tower = getattr(clip.network, "text", clip.network)
        self.trims = trims_exactly(tower)
        self._forward: Forward = forward_trimmed(tower) if self.trims else clip.network.encode_text
        self._lengths = text_lengths(tower)

    @classmethod
    def from_pretrained(cls, source: ClipSource, device: str = "auto") -> "ClipText":
        """Load a CLIP by name or from a local file.

        Raises:
            EncoderError: it cannot be loaded; the message says how to go on.
        """
        device = pick_device(device)
        return cls(load_clip(source, device), clip_tokenizer(source), device)

    def encode(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Embed captions.

        Args:
            captions: n strings; what exceeds the context length is cut by the tokenizer.

        Returns:
            float32 [n, d], unit rows.
        """
        vectors = np.empty((len(captions), self.dimension), np.float32)
        if not len(captions):
            return vectors
        tokens = self._tokenizer(list(captions))  # [n, context]
        lengths = self._lengths(tokens).numpy() if self.trims else np.full(len(tokens), tokens.shape[1])
        with torch.inference_mode():
            for rows in batches(lengths, TOKENS_PER_BATCH):
                batch = tokens[torch.from_numpy(rows), : lengths[rows[-1]]].to(self._device)
                encoded = torch.nn.functional.normalize(self._forward(batch).float(), dim=-1)
                vectors[rows] = encoded.cpu().numpy()
        return vectors


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


def load_clip_text(clip: str, checkpoint: Path | None, device: str) -> ClipText:
    """Load a text encoder from what a user wrote after `--clip` and `--clip-checkpoint`."""
    return ClipText.from_pretrained(ClipSource.parse(clip, checkpoint), device)


def clip_text_of(identity: EncoderIdentity, checkpoint: Path | None, device: str) -> ClipText:
    """Load the text encoder that an index names, from where the index found it or from another file."""
    return ClipText.from_pretrained(source_of(identity, checkpoint), device)

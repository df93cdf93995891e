"""CLIP's byte-pair tokenizer at the speed of the `tokenizers` library, for texts where that is provably the same.

open_clip's tokenizer mends a text (ftfy, HTML entities), lowers its case and splits it with a regular expression, all
in Python. On printable ASCII without `&` the mending changes nothing but white space, which no token holds, and the two
regular expression engines agree on what a letter is. Every other text goes to open_clip's own.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer, _clean_lower
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as Both

Tokenize = Callable[[list[str]], torch.Tensor]

TEXTS_AT_ONCE = 2_048
"""Tokens of so many captions wait in the library's own form, which takes 1.3 kB a caption."""

_PLAIN = re.compile(r"[ -%'-~]*")  # printable ASCII without &
_SPECIAL = re.compile(r"<(?:start|end)_of_text>", re.IGNORECASE)
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


def faster(tokenizer: Any) -> Tokenize:
    """The same tokenizer, faster where it is CLIP's own with its usual cleaning; else itself."""
    usual = (
        type(tokenizer) is SimpleTokenizer
        and tokenizer.clean_fn is _clean_lower
        and tokenizer.reduction_fn is None
        and len(tokenizer.all_special_ids) == 2
    )
    return FastTokenizer(tokenizer) if usual else tokenizer


class FastTokenizer:
    """Tokenises as the `SimpleTokenizer` that it is made from."""

    def __init__(self, slow: Any) -> None:
        self._slow = slow
        merges = sorted(slow.bpe_ranks, key=slow.bpe_ranks.__getitem__)
        self._fast = Tokenizer(BPE(slow.encoder, merges, end_of_word_suffix="</w>"))
        split = Split(Regex(_PIECES), "removed", invert=True)
        self._fast.pre_tokenizer = Both([split, ByteLevel(add_prefix_space=False, use_regex=False)])

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Tokens int32 [n, context]: start, the text, end, zeros; what exceeds the context is cut, its end kept."""
        slow = self._slow
        tokens = np.zeros((len(texts), slow.context_length), np.int32)
        plain = [row for row, text in enumerate(texts) if _PLAIN.fullmatch(text) and not _SPECIAL.search(text)]
        for start in range(0, len(plain), TEXTS_AT_ONCE):
            some = plain[start : start + TEXTS_AT_ONCE]
            found = self._fast.encode_batch_fast([texts[row].lower() for row in some], add_special_tokens=False)
            for row, encoding in zip(some, found, strict=True):
                inner = encoding.ids[: slow.context_length - 2]
                tokens[row, : len(inner) + 2] = [slow.sot_token_id, *inner, slow.eot_token_id]
        rest = sorted(set(range(len(texts))) - set(plain))
        if rest:
            tokens[rest] = slow([texts[row] for row in rest]).numpy()
        return torch.from_numpy(tokens)

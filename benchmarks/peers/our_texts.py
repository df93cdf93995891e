"""Our text encoder as the builder calls it, captions to unit vectors, tokenising included, in each precision."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # also runs from a checkout that is not installed

from rounds import Encode, serve

from build_index.encoding import CAPTIONS_PER_CALL, Embedder
from encoders.clip_text import ClipText
from encoders.presets import Precision
from encoders.weights import ClipSource


def prepare(job: dict[str, Any]) -> tuple[dict[str, Encode], dict[str, str]]:
    """Load the network once for each precision that was asked for."""
    torch.set_num_threads(job["threads"])
    source = ClipSource(job["architecture"], None, Path(job["checkpoint"]))

    def encode_with(encoder: ClipText) -> Encode:
        def encode() -> tuple[list[str] | None, np.ndarray]:
            captions = job["captions"]
            with Embedder(encoder, lambda _: None) as embedder:
                starts = range(0, len(captions), CAPTIONS_PER_CALL)
                parts = [embedder.begin(captions[start : start + CAPTIONS_PER_CALL]) for start in starts]
                return None, np.concatenate([part.result() for part in parts])

        return encode

    encoders = [ClipText.from_pretrained(source, job["device"], Precision(each)) for each in job["precisions"]]
    systems = {f"ours, {encoder.identity.precision}": encode_with(encoder) for encoder in encoders}
    return systems, {"our open_clip": open_clip.__version__, "our torch": torch.__version__}


if __name__ == "__main__":
    serve(prepare)

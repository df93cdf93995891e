"""clip-retrieval's own reader and mapper, run as its worker runs them. For its environment, not for ours.

Two systems. `clip-retrieval, mapper` is its inference alone: its reader has read and tokenised all batches beforehand.
`clip-retrieval, reader and mapper` is the loop of its `Runner` without the writer: worker processes start, read the tar
files, tokenise caption by caption, and the mapper encodes their batches. Loading and its warm-up, which runs the image
tower as well, are in neither.
"""

from typing import Any

import numpy as np
import torch
from all_clip import load_clip
from clip_retrieval.clip_inference.mapper import ClipMapper
from clip_retrieval.clip_inference.reader import WebdatasetReader
from clip_retrieval.clip_inference.runner import Sampler
from rounds import Encode, serve

BATCH = 256  # its default


def prepare(job: dict[str, Any]) -> tuple[dict[str, Encode], dict[str, str]]:
    """Build reader and mapper with the arguments that its worker would give them."""
    torch.set_num_threads(job["threads"])
    model = f"open_clip:{job['architecture']}/{job['checkpoint']}"
    mapper = ClipMapper(
        enable_image=False,
        enable_text=True,
        enable_metadata=False,
        use_mclip=False,
        clip_model=model,
        use_jit=False,
        mclip_model="",
        warmup_batch_size=1,
    )
    _, pixels, tokenizer = load_clip(clip_model=model, use_jit=False, warmup_batch_size=1)
    options = {"enable_text": True, "enable_image": False}
    reader = WebdatasetReader(Sampler(0, 1), pixels, tokenizer, job["tars"], BATCH, job["workers"], **options)

    def encode(batches: Any) -> tuple[list[str], np.ndarray]:
        found = [mapper(batch) for batch in batches]
        return [text for each in found for text in each["text"]], np.concatenate([each["text_embs"] for each in found])

    read: list[Any] = []  # all batches, read when they are wanted first, outside of any counted round

    def encode_read() -> tuple[list[str], np.ndarray]:
        if not read:
            read.extend(reader)
        return encode(read)

    systems: dict[str, Encode] = {
        "clip-retrieval, mapper": encode_read,
        "clip-retrieval, reader and mapper": lambda: encode(reader),
    }
    return systems, {"clip-retrieval's torch": torch.__version__}


if __name__ == "__main__":
    serve(prepare)

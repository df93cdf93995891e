"""open_clip as its documentation shows it: captions tokenised and padded to 77 places, 256 at a time, in their order.

`bf16` is autocast to bfloat16 over the same network. Vectors are scaled to length 1 and go to the processor's memory.
"""

from typing import Any

import numpy as np
import open_clip
import torch
from rounds import Encode, serve

BATCH = 256


def prepare(job: dict[str, Any]) -> tuple[dict[str, Encode], dict[str, str]]:
    """Load the network."""
    torch.set_num_threads(job["threads"])
    device, captions = job["device"], job["captions"]
    network = open_clip.create_model(job["architecture"], pretrained=job["checkpoint"]).eval().to(device)
    tokenizer = open_clip.get_tokenizer(job["architecture"])

    def encode_with(precision: str) -> Encode:
        def encode() -> tuple[list[str] | None, np.ndarray]:
            vectors = []
            with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                for start in range(0, len(captions), BATCH):
                    tokens = tokenizer(captions[start : start + BATCH]).to(device)
                    vectors.append(network.encode_text(tokens, normalize=True).float().cpu().numpy())
            return None, np.concatenate(vectors)

        return encode

    systems = {f"open_clip, padded, {precision}": encode_with(precision) for precision in job["precisions"]}
    return systems, {"open_clip": open_clip.__version__}


if __name__ == "__main__":
    serve(prepare)

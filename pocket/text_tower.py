"""Fourth stage: a small CLIP text tower learns to put every line where the sentence encoder puts it.

The target of a line is its sentence vector as the image tower reads it. N. Reimers and I. Gurevych, "Making Monolingual
Sentence Embeddings Multilingual using Knowledge Distillation", 2020, with CLIP's transformer as the student.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pocket.checkpoints import Place

COMMON = ("ram/ram_tag_list.txt", "visual_genome_1600/objects_vocab.txt", "objects365/names.txt")
"""Lists of everyday names, in the folder of class lists."""

CONTRAST = 0.2
SHARPNESS = 20.0


@dataclass(frozen=True)
class TextConfig:
    """How long and how.

    Attributes:
        steps: batches.
        batch: lines in a batch.
        longest: tokens, start and end included; longer lines are left out.
    """

    steps: int = 3000
    batch: int = 512
    longest: int = 32
    seed: int = 0
    rate: float = 3e-3


def read_lines(captions: Path, vocabulary: Path, most: int, seed: int) -> list[str]:
    """A sample of the mixed captions, and the names of the class lists in two templates each.

    Args:
        captions: folder with mixed_756k.parquet.
        vocabulary: folder with the class lists.
        most: captions to take.
        seed: of the sample.
    """
    mixed = pq.read_table(captions / "mixed_756k.parquet", columns=["text"])["text"].to_pylist()
    chosen = np.random.default_rng(seed).permutation(len(mixed))[:most]
    names = read_names(vocabulary, [*COMMON, "v3det/category_name_13204_v3det_2023_v1.txt"])
    return [mixed[index] for index in chosen] + names + [f"a photo of a {name}." for name in names]


def read_names(vocabulary: Path, lists: Sequence[str]) -> list[str]:
    """The names of class lists, each once, in order."""
    lines = (line for path in lists for line in (vocabulary / path).read_text().split("\n"))
    return sorted({line.strip().replace("_", " ") for line in lines} - {""})


def train_text(
    clip: tuple[Any, Any], lines: Sequence[str], targets: NDArray[np.float32], config: TextConfig, place: Place
) -> None:
    """Train the text half of an open_clip CLIP in place.

    Args:
        clip: the network, on its device, with random text weights; and its tokenizer.
        lines: what is read.
        targets: unit vectors [N, D], where each line belongs.
        config: how long and how.
        place: where this runs.
    """
    network, tokenizer = clip
    encoded = [tokenizer(list(lines[at : at + 4096])).numpy() for at in range(0, len(lines), 4096)]
    tokens = torch.from_numpy(np.concatenate(encoded))
    lengths = tokens.argmax(1) + 1  # the end of the text has the highest number
    fits = (lengths <= config.longest).nonzero()[:, 0]
    tokens, lengths, goals = tokens[fits], lengths[fits], torch.from_numpy(targets)[fits]
    weights = [weight for name, weight in network.named_parameters() if not name.startswith(("visual", "logit"))]
    optimiser = torch.optim.AdamW(weights, config.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    # a warm-up of 0.05 would divide by zero where there are twenty steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, config.steps, pct_start=0.0501)
    random = np.random.default_rng(config.seed)
    network.train()
    for step, chosen in zip(range(config.steps), _batches(lengths.numpy(), config.batch, random), strict=False):
        rows = torch.from_numpy(chosen)
        said = F.normalize(text_vectors(network, tokens[rows, : int(lengths[rows].max())].to(place.device)), dim=-1)
        goal = goals[rows].to(place.device)
        near = 1 - (said * goal).sum(-1).mean()
        apart = F.cross_entropy(SHARPNESS * said @ goal.T, torch.arange(len(rows), device=place.device))
        optimiser.zero_grad()
        (near + CONTRAST * apart).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == config.steps - 1:
            place.report(step, f"cosine {1 - near.item():.3f} contrast {apart.item():.3f}")
    network.eval()


def text_vectors(network: Any, tokens: Tensor) -> Tensor:
    """As open_clip's `encode_text`, but for tokens cut off behind the longest line: [B, L] to [B, D]."""
    length = tokens.shape[1]
    hidden = network.token_embedding(tokens) + network.positional_embedding[:length]
    hidden = network.transformer(hidden, attn_mask=network.attn_mask[:length, :length])
    hidden = network.ln_final(hidden)[torch.arange(len(tokens)), tokens.argmax(1)]
    vectors: Tensor = hidden @ network.text_projection
    return vectors


def _batches(lengths: NDArray[np.int64], batch: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Lines of like length together, in random order, round after round."""
    batch = min(batch, len(lengths))
    while True:
        order = np.argsort(lengths + random.uniform(0, 3, len(lengths)), kind="stable")
        starts = random.permutation(np.arange(0, len(order) - batch + 1, batch))
        for start in starts:
            yield order[start : start + batch]


def new_clip(config: Path) -> tuple[Any, Any]:
    """A CLIP of random weights and its tokenizer, from an `open_clip_config.json`."""
    model = json.loads(config.read_text())["model_cfg"]
    network = open_clip.CLIP(**model)
    return network, open_clip.SimpleTokenizer(context_length=model["text_cfg"]["context_length"])

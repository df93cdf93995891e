"""The tower that is trained: a trunk, and what reads pictures and sentences into one space."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pocket.student import CHANNELS, blocks_of

DIMENSION = 256
SENTENCE = 384


class Tower(nn.Module):
    """What is trained: trunk, projection, the reading of sentence vectors, and a head for the teacher's features."""

    def __init__(self, trunk: Any, sentences: NDArray[np.float16]) -> None:
        super().__init__()
        self.trunk = trunk
        self.project = nn.Linear(CHANNELS, DIMENSION, bias=False)
        self.read = nn.Linear(SENTENCE, DIMENSION, bias=False)
        self.imitate = nn.Conv2d(CHANNELS, 256, 1)
        self.log_scale = nn.Parameter(torch.tensor(2.7))
        with torch.no_grad():
            self.read.weight.copy_(half_whitening(torch.from_numpy(sentences).float()))

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        """Block outputs, and features [B, 1280, h, w]."""
        hidden, outputs = pictures, []
        for block in blocks_of(self.trunk):
            hidden = block(hidden)
            outputs.append(hidden)
        return outputs, self.trunk.bn2(self.trunk.conv_head(hidden))

    def words(self, sentences: Tensor) -> Tensor:
        """[N, 384] to unit [N, 256]."""
        return F.normalize(self.read(sentences), dim=-1)

    def scale(self) -> Tensor:
        """What cosines are multiplied with."""
        return self.log_scale.clamp(max=4.0).exp()


def half_whitening(sentences: Tensor) -> Tensor:
    """[256, 384]: principal components, each divided by the square root of its deviation."""
    centred = sentences - sentences.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(sentences))
    values, vectors = values.flip(0)[:DIMENSION], vectors.flip(1)[:, :DIMENSION]
    return (vectors / values.clamp(min=1e-8) ** 0.25).T

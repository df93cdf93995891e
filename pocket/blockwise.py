"""First stage: every block alone learns what the teacher's block does.

A. Romero et al., "FitNets: Hints for Thin Deep Nets", 2015; each block is given the teacher's input and asked for the
teacher's output, so that seventeen shallow problems are solved side by side instead of one deep one. What is inside a
block starts from random weights and is free to differ from the teacher.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pocket.checkpoints import SAVE_EVERY, Place, keep, kept
from pocket.material import Crops, Material
from pocket.optimiser import Optimiser
from pocket.student import HINTS, STRIDE, blocks_of, match_scales, new_trunk
from pocket.teachers import Teacher

BATCH = 16
SIDE = 128


def train_blocks(material: Material, place: Place, steps: int, seed: int) -> Any:
    """A trunk whose blocks each imitate the DeepLabV3 teacher's; `blocks.pt` in the work folder is gone on from.

    Args:
        material: pictures to look at.
        place: where this runs.
        steps: batches of 16 crops.
        seed: of weights, order and crops.

    Returns:
        The trunk, in training mode.
    """
    torch.manual_seed(seed)
    teacher = Teacher(place.teachers / "deeplabv3_mnv2_pascal_quant.tflite").eval().to(place.device)
    trunk = new_trunk().train().to(place.device)
    blocks = blocks_of(trunk)
    optimiser = Optimiser(blocks, matrices=0.1, rest=6e-3)
    crops, first = Crops(SIDE), 0
    state = kept(place.work / "blocks.pt")
    if state is not None:
        trunk.load_state_dict(state["trunk"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    for step in range(first, steps):
        random = np.random.default_rng((seed, step))
        chosen = random.integers(len(material.pictures), size=BATCH)
        pictures = to_network(np.stack([crops.draw(material.pictures[index], random)[0] for index in chosen]))
        pictures = pictures.to(place.device)
        with torch.no_grad():
            hints = teacher(pictures, HINTS, stride=STRIDE)
        if step == 0:
            match_scales(blocks, hints)
        errors = []
        for number, block in enumerate(blocks):
            output = block(hints[number - 1] if number else pictures)
            errors.append(F.mse_loss(output, hints[number]) / hints[number].var())
        optimiser.step(torch.stack(errors).sum(), step / steps)
        if step % 50 == 0 or step == steps - 1:
            place.report(step, "explained " + " ".join(f"{1 - error.item():.2f}" for error in errors))
        if step % SAVE_EVERY == SAVE_EVERY - 1 or step == steps - 1:
            state = {"trunk": trunk.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            keep(place.work / "blocks.pt", state)
    return trunk


def to_network(crops: NDArray[np.uint8]) -> Tensor:
    """uint8 [B, H, W, 3] to float32 [B, 3, H, W] in [-1, 1], channels last in memory: convolutions are faster so."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)

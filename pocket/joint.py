"""Second stage: the whole tower learns to say what it sees, in the space of a sentence encoder.

Five teachers at once, all on the same crop: the marked regions of the pools (their names), the DeepLabV3 teacher (its
features everywhere, its classes where nothing is marked), the MobileNetV2 teacher (its thousand ImageNet classes at
every location, as names), the captions of whole pictures, and the hints of the first stage.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pocket.batches import HELD_OUT, Draw
from pocket.blockwise import to_network
from pocket.checkpoints import SAVE_EVERY, Place, keep, kept
from pocket.config import JointConfig
from pocket.losses import Guides, Names, losses_of
from pocket.material import UNLABELLED, Material, Picture
from pocket.optimiser import Optimiser
from pocket.sentences import embed_sentences
from pocket.student import STRIDE
from pocket.tower import Tower

SHORT_SIDE, MOST = 320, 160
"""Pixels of held-out pictures, and how many of each pool are looked at."""


def train_tower(material: Material, place: Place, tower: Tower, config: JointConfig) -> Tower:
    """Train the whole tower in place; its checkpoint in the work folder is gone on from.

    Args:
        material: pictures, regions and captions.
        place: where this runs.
        tower: what is trained; parameters that ask for no gradient stay as they are.
        config: how long and how.

    Returns:
        The tower in evaluation mode.
    """
    names = Names.read(material, place)
    tower.train()
    optimiser = Optimiser([tower], matrices=config.matrices, rest=config.rest)
    guides = Guides(place)
    draw = Draw(material, torch.from_numpy(embed_sentences(captions_of(material), place.work)).float())
    checkpoint = place.work / f"{config.name}.pt"
    state, first = kept(checkpoint), 0
    if state is not None:
        tower.load_state_dict(state["tower"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    for step in range(first, config.steps):
        batch = draw(np.random.default_rng((config.seed, step)), config, place.device)
        losses = losses_of(tower, batch, guides, names, config)
        optimiser.step(torch.stack(list(losses.values())).sum(), step / config.steps)
        if step % 50 == 0 or step == config.steps - 1:
            place.report(step, " ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items()))
        if step % SAVE_EVERY == SAVE_EVERY - 1 or step == config.steps - 1:
            state = {"tower": tower.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            keep(checkpoint, state)
            place.report(step, "held out: " + held_out(tower, material, names))
    return tower.eval()


def new_tower(material: Material, place: Place, trunk: Any, seed: int) -> Tower:
    """A tower around a trunk, on its device; its reading is fitted to the captions of the pools."""
    sentences = embed_sentences(captions_of(material), place.work)
    torch.manual_seed(seed)
    return Tower(trunk, sentences).to(place.device).to(memory_format=torch.channels_last)


def captions_of(material: Material) -> list[str]:
    """Every caption of a picture, in order."""
    return [text for picture in material.pictures if picture.pool == "flickr8k" for text in picture.texts]


@torch.inference_mode()
def held_out(tower: Tower, material: Material, names: Names) -> str:
    """Accuracy of the names of marked regions on pictures that were not trained on."""
    tower.eval()
    words = tower.words(names.regions.mean(0).to(tower.log_scale.device)).cpu()
    lines = []
    for pool, own in material.named_in.items():
        pictures = [picture for picture in material.pictures if picture.pool == pool][::HELD_OUT][:MOST]
        right = total = 0
        for picture in pictures:
            vectors, truth = region_vectors(tower, picture, SHORT_SIDE)
            if len(truth):
                said = torch.tensor(own)[(vectors @ words[list(own)].T).argmax(1)]
                right, total = right + int((said == truth).sum()), total + len(truth)
        lines.append(f"{pool} {right / max(total, 1):.3f} of {total}")
    tower.train()
    return ", ".join(lines)


def region_vectors(tower: Tower, picture: Picture, short_side: int) -> tuple[Tensor, Tensor]:
    """Mean vector of every marked region: unit [R, 256], and its name [R]."""
    height, width = picture.pixels.shape[:2]
    factor = short_side / min(height, width)
    size = (round(height * factor / STRIDE) * STRIDE, round(width * factor / STRIDE) * STRIDE)
    pictures = F.interpolate(to_network(picture.pixels[None]), size, mode="bicubic", antialias=True)
    _, features = tower(pictures.to(tower.log_scale.device))
    dense = tower.project(features[0].permute(1, 2, 0)).flatten(0, 1).cpu()  # [h * w, 256]
    assert picture.regions is not None
    found = [int(name) for name in np.unique(picture.regions) if name != UNLABELLED]
    masks = torch.stack([torch.from_numpy(picture.regions == name).float() for name in found]) if found else None
    if masks is None:
        return dense[:0], torch.zeros(0, dtype=torch.long)
    cells = F.interpolate(masks[None], features.shape[2:], mode="area")[0].flatten(1)  # [R, h * w]
    return F.normalize(cells @ dense / cells.sum(1, keepdim=True).clamp(min=1e-6), dim=-1), torch.tensor(found)

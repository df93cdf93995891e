"""The four stages in order; each leaves a file in the work folder and is skipped where that file is complete."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pocket.blockwise import train_blocks
from pocket.checkpoints import Place, keep, kept
from pocket.config import CLIP_CONFIG, JointConfig, PocketConfig
from pocket.export import install_image, write_weights
from pocket.joint import new_tower, train_tower
from pocket.material import Material, read_material
from pocket.sentences import embed_sentences, prompted
from pocket.text_tower import COMMON, TextConfig, new_clip, read_lines, read_names, train_text
from pocket.tower import Tower

Report = Callable[[str, int, str], None]

NAMES_BESIDE = 20_000
"""Captions that are read beside names, lest they be forgotten."""

REGION_NAMES = 30


def train(config: PocketConfig, report: Report) -> int:
    """Train what is not trained yet and write the weights.

    Returns:
        Bytes of the weights file.
    """
    torch.set_flush_denormal(True)  # the first hundred steps crawl through denormals otherwise
    config.work.mkdir(parents=True, exist_ok=True)
    material = read_material(config.material / "pool")
    trunk = train_blocks(material, place_of("blocks", config, report), config.block_steps, config.seed)
    place = place_of("tower", config, report)
    joint = JointConfig(steps=config.joint_steps, seed=config.seed)
    tower = train_tower(material, place, new_tower(material, place, trunk, config.seed), joint)
    tower.read.weight.requires_grad = False  # so that texts may be trained on what stands now
    tower = train_tower(material, place_of("refine", config, report), tower, refined(config))
    network = text_of(material, tower, config, report)
    install_image(network, tower.cpu())
    return write_weights(network, config.out)


def refined(config: PocketConfig) -> JointConfig:
    """The same once more, gently, on larger crops: the teacher counts four times, and every region counts as one."""
    more = JointConfig(
        batch=16, side=160, matrices=0.02, rest=2e-3, features=2.0, soft=1.0, by_region=1.0, name="refine"
    )
    return replace(more, steps=config.refine_steps, seed=config.seed + 1)


def place_of(stage: str, config: PocketConfig, report: Report) -> Place:
    """Where a stage runs."""
    return Place(config.material / "teachers", config.work, lambda step, line: report(stage, step, line), config.device)


def text_of(material: Material, tower: Tower, config: PocketConfig, report: Report) -> Any:
    """An open_clip CLIP whose text half is trained; its image half still holds random weights."""
    torch.manual_seed(config.seed)
    network, tokenizer = new_clip(config.out / CLIP_CONFIG)
    done = kept(config.work / "text.pt")
    if done is not None:
        network.load_state_dict(done["network"])
        return network.eval()
    lines = read_lines(config.material / "captions", config.material / "vocab", config.captions, config.seed)
    lines += [text for picture in material.pictures for text in picture.texts]
    clip, place = (network.to(config.device), tokenizer), place_of("text", config, report)
    targets = targets_of(tower, embed_sentences(lines, config.work))
    train_text(clip, lines, targets, TextConfig(steps=config.text_steps, seed=config.seed), place)
    names = names_of(material, config) + lines[:NAMES_BESIDE]
    targets = targets_of(tower, embed_sentences(names, config.work))
    gently = TextConfig(steps=config.name_steps, seed=config.seed, rate=1e-3)
    train_text(clip, names, targets, gently, place_of("names", config, report))
    keep(config.work / "text.pt", {"network": network.cpu().state_dict()})
    return network


def names_of(material: Material, config: PocketConfig) -> list[str]:
    """Everyday names in every prompt, those of the regions `REGION_NAMES` times: labels are names, not captions."""
    everyday = read_names(config.material / "vocab", COMMON)
    return prompted(everyday) + prompted(material.names) * REGION_NAMES


@torch.inference_mode()
def targets_of(tower: Tower, sentences: NDArray[np.float16]) -> NDArray[np.float32]:
    """Sentence vectors as the image tower reads them: [N, 384] to unit float32 [N, 256]."""
    read = tower.read.weight.float().cpu()
    vectors: NDArray[np.float32] = F.normalize(torch.from_numpy(sentences).float() @ read.T, dim=-1).numpy()
    return vectors

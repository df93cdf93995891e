"""Small convolutional networks with random weights whose activations keep their size, and a pocket made of one."""

import json
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from open_clip.timm_model import TimmModel
from safetensors.torch import save_file
from torch import nn

from encoders import weights

SHIPPED = json.loads((weights.POCKET_FOLDER / "open_clip_config.json").read_text("utf-8"))
"""The configuration that the package holds."""


def timm_network(name: str, **options: Any) -> nn.Module:
    """A timm network in which no statistic and no gain has its neutral value."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(name, **{"num_classes": 0, **options})
        return settled(network)


def timm_tower(name: str, **options: Any) -> TimmModel:
    """An open_clip image tower around such a network, 8 channels wide."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return settled(TimmModel(name, **{"embed_dim": 8, "pretrained": False, **options}))


def settled(network: Any) -> Any:
    """Random gains, then batch statistics measured on noise: else random networks fade out or burst."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the plain mean over all that passes
        network.train()
        network(torch.randn(4, 3, 96, 96))
    return network.eval()


def fill_pocket(folder: Path, seed: int = 0, **preprocess: Any) -> dict[str, torch.Tensor]:
    """Write a pocket of the shipped architecture with random weights: a configuration and a float16 file.

    Returns:
        What is in the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {**SHIPPED, "preprocess_cfg": {**SHIPPED["preprocess_cfg"], **preprocess}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), "utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = open_clip.CLIP(**SHIPPED["model_cfg"])
        settled(network.visual)
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()
    }
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "open_clip_model.safetensors")
    return state

"""Writes the trained pair as open_clip reads it: half precision, safetensors."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from pocket.tower import Tower

LIMIT = 30_000_000
"""Bytes that may ship with the package."""


def install_image(network: Any, tower: Tower) -> None:
    """Put a trained image tower into an open_clip CLIP."""
    network.visual.trunk.load_state_dict(tower.trunk.state_dict())
    with torch.no_grad():
        network.visual.head.proj.weight.copy_(tower.project.weight)
        network.logit_scale.copy_(tower.scale().log())


def write_weights(network: Any, folder: Path) -> int:
    """Write `open_clip_model.safetensors`, floating-point tensors in float16.

    Returns:
        Bytes written.

    Raises:
        ValueError: the file is larger than may ship, or a tensor does not fit into float16.
    """
    tensors = {}
    for name, tensor in network.state_dict().items():
        small = tensor.half() if tensor.is_floating_point() else tensor
        if not torch.isfinite(small).all():
            raise ValueError(f"{name} holds {tensor.abs().max():.3g}, which float16 cannot")
        tensors[name] = small.contiguous().cpu()
    aside, final = folder / "open_clip_model.safetensors.tmp", folder / "open_clip_model.safetensors"
    save_file(tensors, aside)
    size = aside.stat().st_size
    if size > LIMIT:
        raise ValueError(f"{aside} has {size} bytes; at most {LIMIT} may ship")
    aside.rename(final)
    return size

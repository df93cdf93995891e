"""Small random networks from a fixed seed: the real architectures with no training, so with no meaning.

They exist so that every code path runs anywhere, without a download. What they say is noise.
"""

import hashlib
from typing import Any

import numpy as np
import timm
import torch
from open_clip import CLIP

from encoders.blank import NothingRandom

SEED = 2403_11197

CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 224, "layers": 8, "width": 128, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 4},
}
"""An open_clip configuration: CLIP's own architecture, 8.6 million parameters, most of them the word table."""

DINO_ARCHITECTURE = "vit_small_patch14_reg4_dinov2"
DINO_SHAPE: dict[str, Any] = {"embed_dim": 96, "depth": 4, "num_heads": 3}


def untrained_clip() -> torch.nn.Module:
    """CLIP with random weights."""
    with NothingRandom():
        network = CLIP(**CLIP_CONFIG)
    fill_random(network)
    return network.eval()


def untrained_dino() -> torch.nn.Module:
    """DINOv2 ViT with four registers and random weights."""
    with NothingRandom():
        network: torch.nn.Module = timm.create_model(
            DINO_ARCHITECTURE, pretrained=False, num_classes=0, dynamic_img_size=True, **DINO_SHAPE
        )
    fill_random(network)
    return network.eval()


def fill_random(network: torch.nn.Module, seed: int = SEED) -> None:
    """Give every parameter values that depend on the seed and its name alone.

    Matrices are normal with standard deviation 1/sqrt(inputs), so that activations keep their size; norm weights are
    1 and biases 0. NumPy draws the numbers, so a later torch does not change them.
    """
    for name, parameter in network.named_parameters():
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))
        if parameter.ndim >= 2:
            inputs = int(np.prod(parameter.shape[1:]))
            values = generator.standard_normal(tuple(parameter.shape), np.float32).astype(np.float64)
            values /= np.sqrt(inputs)  # in float64 by our own word: NumPy 1 and 2 differ on what they would choose
        else:
            values = np.full(tuple(parameter.shape), 0.0 if name.endswith("bias") else 1.0)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values.astype(np.float32)))

"""Convolutional networks that see pictures twice as fast: norms inside the weights, channels last.

    w' = w g / s,    b' = b + (b_0 - m) g / s

A batch norm of a trained network is a linear map, gain g, shift b, mean m and spread s of each channel, and so is the
convolution before it, weights w and shift b_0: they are one convolution. Numbers differ by float32's rounding.
"""

import copy
from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

TOLERANCE = 1e-3
"""How far what a network says may move, as a share. Measured: 1e-6; a norm in the wrong place moves it by all of it."""


def folded(network: nn.Module, probe: Tensor) -> nn.Module:
    """A copy of a network of feature maps in which every batch norm right behind a convolution is folded into it.

    Args:
        network: in evaluation mode, with `forward_features`; it stays as it is.
        probe: pictures [B, 3, H, W] as it takes them, by which one sees what follows what.

    Returns:
        The copy; the network itself where there is nothing to fold, or where the copy says something else.
    """
    pairs = _pairs(network, probe)
    if not pairs:
        return network
    copied: Any = copy.deepcopy(network)
    for convolution, norm in pairs:
        before, behind = (copied.get_submodule(name) for name in (convolution, norm))
        _put(copied, convolution, fuse_conv_bn_eval(before, behind))
        _put(copied, norm, getattr(behind, "act", nn.Identity()))  # timm's norms have the activation inside
    copied = copied.to(memory_format=torch.channels_last)
    return copied if _agree(copied, network, probe) else network


def _pairs(network: Any, probe: Tensor) -> list[tuple[str, str]]:
    """Names of convolutions, and of the norms that see what they give; modules that run more than once are left out."""
    given: dict[int, tuple[str, Tensor]] = {}
    runs: dict[str, int] = {}
    pairs: list[tuple[str, str]] = []
    hooks = []

    def gives(name: str, output: Tensor) -> None:
        given[id(output)] = name, output  # which is kept, lest another gets its number
        runs[name] = runs.get(name, 0) + 1

    def sees(name: str, entering: Tensor) -> None:
        runs[name] = runs.get(name, 0) + 1
        if id(entering) in given:
            pairs.append((given[id(entering)][0], name))

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(lambda _, __, output, name=name: gives(name, output)))
        elif type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(lambda _, entering, name=name: sees(name, entering[0])))
    try:
        with torch.inference_mode():
            network.forward_features(probe)
    finally:
        for hook in hooks:
            hook.remove()
    return [pair for pair in pairs if all(runs[name] == 1 for name in pair)]


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)


def _agree(network: Any, other: Any, probe: Tensor) -> bool:
    """Whether two networks say the same of a picture, and can say it."""
    with torch.inference_mode():
        wanted = other.forward_features(probe)
        try:
            found = network.forward_features(probe)
        except RuntimeError:  # of networks that want their channels first
            return False
        same = (found - wanted).norm() <= TOLERANCE * wanted.norm()
    return bool(same)

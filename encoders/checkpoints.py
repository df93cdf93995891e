"""Files of weights: what a file is before a library opens it, and where in it a network's weights lie."""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from encoders.errors import EncoderError, WeightsMissing
from encoders.loading import quiet
from encoders.presets import UNTRAINED

ARRAYS = (".npz", ".npy")
"""Formats of NumPy's, which some towers come in and open_clip reads itself."""

SAFETENSORS = ".safetensors"
NAMES_SHOWN = 3


def check_checkpoint(checkpoint: Path | None, network: str, flag: str) -> dict[str, Tensor]:
    """Refuse a file that cannot be what is needed, before a loading library opens it.

    Old releases of torch and timm fall back to unpickling whatever is not plain weights, which runs code.

    Returns:
        Its weights by name, without their values: on torch's `meta` device. None of a file that only a library reads.

    Raises:
        WeightsMissing: there is no such file.
        EncoderError: it is something else, or has no weights; the message says what was found.
    """
    if checkpoint is None:
        return {}
    if network == UNTRAINED:
        raise EncoderError(f"{flag} {checkpoint}: the untrained network has its own weights; name another one")
    if not checkpoint.is_file():
        raise WeightsMissing(f"{flag} {checkpoint}: no such file")
    if checkpoint.suffix in ARRAYS:  # they hold no code
        return {}
    if found := _something_else(checkpoint):
        raise EncoderError(f"{flag} {checkpoint}: found {found}")
    try:
        with quiet():
            weights = _weights_in(checkpoint, "meta")
    except Exception as error:  # from pickle, zipfile, safetensors, torch or the disk
        raise EncoderError(
            f"{flag} {checkpoint}: not a file of plain weights (it is damaged, or holds code, which is never run); "
            f"save its state_dict as safetensors and give that"
        ) from error
    if not weights:
        raise EncoderError(f"{flag} {checkpoint}: found no weights in it; give the file of a network's state_dict")
    return weights


def fill_from_elsewhere(network: nn.Module, checkpoint: Path, flag: str) -> bool:
    """Fill a network whose weights lie in a file inside a dictionary, or behind a prefix of their names.

    Args:
        network: to be filled.
        checkpoint: what a loading library could not fill it from.
        flag: how another file is given.

    Returns:
        False, and nothing is changed, where names are not what is wrong with the file.

    Raises:
        EncoderError: the file has all weights several times, or not all; the message compares names.
    """
    if checkpoint.suffix in ARRAYS:
        return False
    held, expected = _weights_in(checkpoint, "cpu"), list(network.state_dict())
    missing = [name for name in expected if name not in held]
    if not missing:
        return False
    begin = {name.removesuffix(expected[0]) for name in held if name.endswith(expected[0])}
    places = sorted(place for place in begin if all(place + name in held for name in expected))
    if len(places) > 1:
        raise EncoderError(
            f"{flag} {checkpoint}: has this network's weights in {len(places)} places, {' and '.join(places)}; "
            f"save those that are meant alone, and give that file"
        )
    if not places:
        others = [name for name in held if name not in set(expected)]
        raise EncoderError(
            f"{flag} {checkpoint}: lacks {len(missing):,} of this network's {len(expected):,} weights{_some(missing)}, "
            f"and has {len(others):,} others{_some(others)}; give this network's file, or name the network of this one"
        )
    network.load_state_dict({name: held[places[0] + name] for name in expected})
    return True


def _weights_in(checkpoint: Path, device: str) -> dict[str, Tensor]:
    """All weights of a file by name, those in dictionaries as `model/visual.proj`; on `meta`, only their shapes."""
    if checkpoint.suffix != SAFETENSORS:
        content = torch.load(checkpoint, map_location=device, weights_only=True)
        return dict(_flat(content.get("state_dict", content))) if isinstance(content, Mapping) else {}
    if device != "meta":
        return load_file(checkpoint, device)
    with safe_open(checkpoint, "pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    return {name: torch.empty(shape, device=device) for name, shape in shapes.items()}


def _flat(content: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield str(key), value
        elif isinstance(value, Mapping):
            yield from ((f"{key}/{name}", inner) for name, inner in _flat(value))


def _some(names: list[str]) -> str:
    return f" ({', '.join(names[:NAMES_SHOWN])}{', …' * (len(names) > NAMES_SHOWN)})" if names else ""


def _something_else(checkpoint: Path) -> str | None:
    """What a file is, and what to do, where its beginning shows that it is not what its name says."""
    with checkpoint.open("rb") as stream:
        begin = stream.read(512)
    named_safe = checkpoint.suffix == SAFETENSORS
    if begin.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the weights that it stands for; fetch them with `git lfs pull`"
    if begin.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, saved in place of the weights; download the file itself"
    if named_safe and begin.startswith((b"PK", b"\x80")):
        return "a file that torch saved, called safetensors; rename it to .pt"
    if not named_safe and begin[8:9] == b"{":
        return "a file of safetensors, called otherwise; rename it to .safetensors"
    return _other_archive(checkpoint) if begin.startswith(b"PK") else None


def _other_archive(checkpoint: Path) -> str | None:
    """What a zip archive is that torch did not save weights in."""
    if not zipfile.is_zipfile(checkpoint):
        return None
    with zipfile.ZipFile(checkpoint) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        return (
            "a TorchScript archive, which holds code, and code is never run; save its weights alone, as "
            "docs/your-own-models.md shows, and give that file"
        )
    if not any(name.endswith("/data.pkl") for name in names):
        return f"a zip archive of something else{_some(names)}; unpack it, and give the file of weights"
    return None

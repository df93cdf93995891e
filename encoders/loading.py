"""What loading any network needs: quiet libraries, errors that say how to go on, a device."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from huggingface_hub.errors import HfHubHTTPError
from numba.core.registry import cpu_target

from encoders import panel_linear
from encoders.compiling import has
from encoders.errors import EncoderError, WeightsMissing
from encoders.hub import offline_where_no_hub_resolves
from encoders.panel_rows import Numbers
from encoders.presets import Precision
from encoders.together import Together


def check_finite(network: torch.nn.Module, found: str, flag: str) -> None:
    """Refuse a network with weights that are no numbers, or which its file lacked (`encoders.blank`).

    Args:
        network: as it was loaded.
        found: which network, and from where.
        flag: how another file is given.

    Raises:
        EncoderError: there is such a weight; the message names it.
    """
    name = not_finite(network)
    if name is not None:
        raise EncoderError(
            f"{found}: {name} holds values that are infinite or not a number, as of a training that overflowed or "
            f"a damaged file; give another with {flag}"
        )


def not_finite(network: torch.nn.Module) -> str | None:
    """The first of a network's weights with values that are infinite or not a number."""
    for name, values in network.state_dict().items():
        if values.is_floating_point() and not values.isfinite().all():
            return name
    return None


@contextmanager
def explained(what: str, wanted: str, flag: str, part: str = "weights") -> Iterator[None]:
    """Turn whatever a loading library raises into one line that says how to go on.

    Args:
        what: is loaded.
        wanted: the file that it is loaded from.
        flag: how another file is given.
        part: of what is loaded, that file is.

    The libraries raise anything from `OSError` to `RuntimeError` with pages of text here, so all are caught, kept as
    the cause, and told apart by what is in their chain of causes: a package that is missing, an answer of the hub, or
    none.
    """
    try:
        with offline_where_no_hub_resolves():
            yield
    except EncoderError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        otherwise = f"with {flag}, or build with --preset pocket, which needs no download"
        for cause in _causes(error):
            if isinstance(cause, ModuleNotFoundError):
                raise EncoderError(f"{what}: a package is not installed here: pip install {cause.name}") from error
            if isinstance(cause, HfHubHTTPError) and cause.response is not None:
                raise EncoderError(
                    f"{what}: the hub answered {cause.response.status_code} when asked for {wanted}. Check the name, "
                    f"and whether one must log in for it (hf auth login), or give a file of your own {otherwise}"
                ) from error
        if any(map(_is_connection, _causes(error))):
            raise WeightsMissing(
                f"{what}: its {part} are not on this machine and no hub can be reached. Wanted: {wanted}. "
                f"Download that file elsewhere and pass it {otherwise}"
            ) from error
        raise EncoderError(f"{what}: cannot be loaded from {wanted}: {reason}. Give another {otherwise}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised from or while handling."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_connection(error: BaseException) -> bool:
    """Whether it says that a hub could not be reached."""
    marks = ("connection", "offline", "resolve", "localentrynotfound", "max retries", "urlopen", "timed out", "proxy")
    text = f"{type(error).__name__} {error}".lower()
    return any(mark in text for mark in marks)


def quiet() -> AbstractContextManager[None]:
    """Keep the loading libraries' own log lines and warnings from our output; errors are raised and said by us."""
    return _QUIET


@contextmanager
def _silence() -> Iterator[None]:
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


_QUIET = Together(_silence)


def pick_device(device: str) -> str:
    """`auto` means CUDA where there is some.

    Raises:
        EncoderError: there is no such device, or one that cannot compute here; the message says why.
    """
    picked = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if picked.startswith("cuda") and not torch.cuda.is_available():
        raise EncoderError(f"--device {device}: torch sees no CUDA device here; use --device cpu")
    cuda = re.fullmatch(r"cuda(?::([0-9]+))?", picked)
    if cuda and int(cuda[1] or 0) >= (count := torch.cuda.device_count()):
        raise EncoderError(f"--device {device}: torch sees {count} CUDA devices here, numbered from 0")
    try:
        some = torch.ones(2, 2, device=picked)
        (some @ some).sum().item()  # some, as `meta`, hold no numbers, and for old GPUs a torch may have no programs
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if cuda:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise EncoderError(
                f"--device {device}: torch cannot compute on {picked}: {reason}; use --device cpu, or another GPU if "
                "there is one, as in --device cuda:1"
            ) from error
        raise EncoderError(f"--device {device}: torch has no such device here; use auto, cpu, cuda or mps") from error
    return "cpu" if picked.startswith("cpu") else picked


def pick_devices(device: str) -> list[str]:
    """Every device that a text encoder should use, each once: `cuda` means all there are, commas separate several.

    Raises:
        EncoderError: there is no such device, or one that cannot compute here; the message says why.
    """
    named = [pick_device(name.strip()) for name in device.split(",")]
    every = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    picked = (each for name in named for each in (every if name == "cuda" else [name]))
    return [pick_device(name) for name in dict.fromkeys(picked)]


def pick_precision(precision: Precision, *devices: str) -> Precision:
    """The precision that is computed in, where a user left it open or asked for what there is not.

    `auto` is bfloat16 where all GPUs, or the processor, multiply it (AVX-512 or AMX), integers on processors that gain
    by them, and float32 elsewhere. Sums, norms and residuals are float32 in any case, and bfloat16 changes a tenth as
    many of a query's neighbours as the search may miss. Processors that would have to imitate bfloat16, ten times
    slower than float32, take integers for it, too.

    Raises:
        EncoderError: integers were asked for, and there is no way to multiply them.
    """
    processor = set(devices) == {"cpu"}
    if precision is Precision.INT16 and not (processor and panel_linear.possible(Numbers.INTEGERS)):
        found = ",".join(devices)
        raise EncoderError(f"--precision int16: only on processors with AVX2, found {found}; use auto, fp32 or bf16")
    coarse = precision in (Precision.AUTO, Precision.BF16)
    if coarse and processor and panel_linear.worthwhile(Numbers.INTEGERS):
        return Precision.INT16
    if precision is not Precision.AUTO:
        return precision
    return Precision.BF16 if all(map(_multiplies_bfloat16, devices)) else Precision.FP32


def _multiplies_bfloat16(device: str) -> bool:
    if device == "cpu":
        return has(cpu_target.target_context, "avx512bf16")
    return device.startswith("cuda") and torch.cuda.get_device_capability(device)[0] >= 8

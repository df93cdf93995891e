"""What a machine could do at best: matrix products in the shapes of a text tower, a large square one, and copying.

    python benchmarks/ceiling.py                                  # ViT-B-32's text tower, float32 and bfloat16; seconds
    python benchmarks/ceiling.py --device cuda --architectures ViT-B-32 ViT-L-14 ViT-H-14

A product is `torch.mm` of tokens [rows, inputs] with a layer's weights as a layer holds them, [outputs, inputs]
transposed, or on a processor oneDNN's with the weights laid out beforehand (`encoders.fused_linear`), whichever is
faster. The rate of a tower is that of its four products one after the other: what an encoder would reach that did
nothing else. Our own products in the processor's tiles (`encoders.packed_linear`), where it has any, are shown beside
it and are not the ceiling. Medians of repeats, after two that are not counted. Copying counts bytes read and written.

Not measured: attention, norms, activations, table look-ups and tokenising, which an encoder cannot leave out.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # also runs from a checkout that is not installed

from benchmarks.tower import TextTower, tower_of

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}

ROWS = 2_048
"""Tokens of one product: those of one of our encoder's batches."""

COPIED_BYTES = 2**28


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=["ViT-B-32"])
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS))
    parser.add_argument("--rows", type=int, default=ROWS, help="tokens of one product")
    parser.add_argument("--square", type=int, default=2_048, help="rows and columns of the square product")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="write the numbers there as JSON")
    flags = parser.parse_args()
    import torch  # after the flags are read, for it takes seconds to load

    torch.set_num_threads(flags.threads)
    load = os.getloadavg()
    towers = {
        name: ceiling(tower_of(name), flags.precisions, flags.rows, flags.repeats, flags.device)
        for name in flags.architectures
    }
    square = {each: product_rate(flags.square, (flags.square,) * 2, each, flags) for each in flags.precisions}
    result = {
        "device": device_name(flags.device),
        "threads": flags.threads,
        "load": load,
        "torch": torch.__version__,
        "rows": flags.rows,
        "towers": towers,
        "square": square,
        "copy_gb_per_s": copy_rate(flags.repeats, flags.device),
    }
    show(result, flags.square)
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def ceiling(tower: TextTower, precisions: list[str], rows: int, repeats: int, device: str) -> dict[str, Any]:
    """GFLOP/s of a tower's products in each precision: each by itself, and the four together under `tower`."""
    found: dict[str, Any] = {}
    for precision in precisions:
        work, spent, rates = 0, 0.0, {}
        for inputs, outputs in tower.products():
            seconds = product_seconds((rows, inputs, outputs), precision, repeats, device)
            flops = 2 * rows * inputs * outputs
            rates[f"{inputs} x {outputs}"] = flops / seconds / 1e9
            work, spent = work + flops, spent + seconds
        found[precision] = {**rates, "tower": work / spent / 1e9}
        ours = [seconds_in_tiles((rows, *shape), precision, repeats) for shape in tower.products() if device == "cpu"]
        if ours and None not in ours:
            found[precision]["ours"] = work / sum(filter(None, ours)) / 1e9
    return found


def seconds_in_tiles(shape: tuple[int, int, int], precision: str, repeats: int) -> float | None:
    """Median seconds of our own product of packed rows, or None where there are no tiles."""
    import torch

    from encoders.packed_linear import PackedLinear, fits
    from encoders.packed_rows import pack

    rows, inputs, outputs = shape
    if not fits(inputs, outputs):
        return None
    kind = getattr(torch, PRECISIONS[precision])
    tokens = pack(torch.randn(rows, inputs).to(kind))
    layer = PackedLinear(torch.randn(outputs, inputs).to(kind), torch.randn(outputs).to(kind))
    return median_seconds(lambda: layer(tokens), repeats, "cpu")


def product_rate(rows: int, weight: tuple[int, int], precision: str, flags: argparse.Namespace) -> float:
    """GFLOP/s of one product."""
    seconds = product_seconds((rows, *weight), precision, flags.repeats, flags.device)
    return 2 * rows * weight[0] * weight[1] / seconds / 1e9


def product_seconds(shape: tuple[int, int, int], precision: str, repeats: int, device: str) -> float:
    """Median seconds of [rows, inputs] times [inputs, outputs], of the faster way."""
    import torch

    from encoders.fused_linear import FusedLinear

    rows, inputs, outputs = shape
    kind = getattr(torch, PRECISIONS[precision])
    tokens = torch.randn(rows, inputs, device=device).to(kind)
    weights = torch.randn(outputs, inputs, device=device).to(kind)
    out = torch.empty(rows, outputs, device=device, dtype=kind)
    seconds = median_seconds(lambda: torch.mm(tokens, weights.t(), out=out), repeats, device)
    fused = FusedLinear(weights, out[0])
    return min(seconds, median_seconds(lambda: fused(tokens), repeats, device)) if fused.is_fused else seconds


def copy_rate(repeats: int, device: str) -> float:
    """GB/s of copying a buffer far larger than a processor's cache, reading and writing counted."""
    import torch

    source = torch.zeros(COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / median_seconds(lambda: target.copy_(source), repeats, device) / 1e9


def median_seconds(work: Callable[[], object], repeats: int, device: str) -> float:
    """Median of several runs, after two that are not counted."""
    seconds = []
    for _ in range(repeats + 2):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


def synchronise(device: str) -> None:
    """Wait for a device that works on its own."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize()


def device_name(device: str) -> str:
    """What the numbers are of: the processor's or the accelerator's name."""
    if device != "cpu":
        import torch

        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "cpu")


def show(result: dict[str, Any], square: int) -> None:
    """Print the table."""
    print(f"{result['device']}, {result['threads']} threads, load {result['load'][0]:.1f}, torch {result['torch']}")
    precisions = list(result["square"])
    print(f"\n{'what':<46}" + "".join(f"{each + ' GFLOP/s':>16}" for each in precisions))
    for name, found in result["towers"].items():
        for shape in found[precisions[0]]:
            whats = {"tower": f"{name}, its four", "ours": f"{name}, its four by our own tiles"}
            what = whats.get(shape, f"{name}, {result['rows']:,} x {shape}")
            print(f"{what:<46}" + "".join(f"{found[each][shape]:>16,.0f}" for each in precisions))
    what = f"square, {square:,}"
    print(f"{what:<46}" + "".join(f"{result['square'][each]:>16,.0f}" for each in precisions))
    print(f"{'copy':<46}{result['copy_gb_per_s']:>16,.1f} GB/s")


if __name__ == "__main__":
    sys.exit(main())

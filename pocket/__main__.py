"""Train the pocket pair: python -m pocket --material FOLDER."""

import sys
import time
from collections.abc import Sequence

from pocket.config import PocketConfig
from shards import commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    config = commands.parse(PocketConfig, arguments, "pocket")
    return commands.run(lambda: _train(config))


def _train(config: PocketConfig) -> int:
    from pocket.train import train  # heavy libraries load after the flags are parsed

    started = time.monotonic()

    def report(stage: str, step: int, line: str) -> None:
        print(f"{stage} {step:5d} {time.monotonic() - started:6.0f} s  {line}", flush=True)

    size = train(config, report)
    print(f"{config.out}: {size:,} bytes of weights after {time.monotonic() - started:,.0f} s")
    return commands.DONE


if __name__ == "__main__":
    sys.exit(main())

"""Photographs to try the labeler on: python -m labeler.demo FOLDER.

They come inside the wheels of scikit-image and scikit-learn, so nothing is downloaded.
"""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from shards import UserError, commands

PHOTOGRAPHS = {
    "skimage": [
        f"data/{name}" for name in ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
    ],
    "sklearn": [f"datasets/images/{name}" for name in ("china.jpg", "flower.jpg")],
}
"""Files inside the installed packages."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Copy seven photographs that come with scikit-image and scikit-learn to a folder."""

    folder: Path = field(metadata={"help": "where to put them", "positional": True})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    config = commands.parse(DemoConfig, arguments, "labeler.demo")
    return commands.run(lambda: _copy(config.folder))


def _copy(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder}: it, or a folder above it, is a file; choose another folder") from None
    for package, names in PHOTOGRAPHS.items():
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise UserError(f"{package} is not installed; pip install 'guidance-free-labeler[demo]'")
        for name in names:
            path = Path(spec.origin).parent / name
            shutil.copyfile(path, folder / path.name)
    return commands.DONE


if __name__ == "__main__":
    sys.exit(main())

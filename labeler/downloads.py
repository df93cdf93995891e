"""A table of URLs becomes a folder of pictures: img2dataset downloads, and says which URLs it could not get."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from labeler.inputs import InputError

URL_SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".tsv": "tsv"}
"""Tables of URLs, and what img2dataset calls their formats. A `.txt` is one if its first line is a URL."""

THREADS = 16
TIMEOUT = 20
"""Seconds that a server may take for a picture."""

RETRIES = 1
REASON = 160
"""Characters of an error that are shown."""


def is_url_table(path: Path) -> bool:
    """Whether a file lists URLs of pictures, and not pictures."""
    if path.suffix.lower() in URL_SUFFIXES:
        return path.is_file()
    if path.suffix.lower() != ".txt" or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as lines:
        return next((line for line in lines if line.strip()), "").startswith(("http://", "https://"))


def download(table: Path, folder: Path) -> list[str]:
    """Download the pictures of a table as they are; img2dataset leaves out the parts that an earlier run finished.

    Args:
        table: a parquet, csv or tsv file with a column `url` (in any case), or a `.txt` with a URL on each line.
        folder: where they go, as img2dataset numbers them: `00000/000000000.jpg`.

    Returns:
        One line for each URL that could not be downloaded. What is downloaded may still be no picture.

    Raises:
        InputError: there is no column of URLs, img2dataset is not installed, or it failed as a whole.
    """
    suffix = table.suffix.lower()
    column = "url" if suffix == ".txt" else _column(table, suffix)
    if find_spec("img2dataset") is None:
        raise InputError(f"{table}: img2dataset downloads URLs, and it is not installed; pip install img2dataset")
    options = {
        "url_list": table,
        "input_format": URL_SUFFIXES.get(suffix, "txt"),
        "url_col": column,
        "output_folder": folder,
        "output_format": "files",
        "resize_mode": "no",
        "disable_all_reencoding": "True",
        "processes_count": 1,
        "thread_count": THREADS,
        "timeout": TIMEOUT,
        "retries": RETRIES,
    }
    program = "from img2dataset.main import main; main()"
    command = [sys.executable, "-c", program, *(f"--{name}={value}" for name, value in options.items())]
    quiet = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}  # a library of its asks the network for news at import
    finished = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=quiet)
    if finished.returncode:
        last = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{table}: img2dataset ended with code {finished.returncode}: {last}")
    return list(_refused(folder))


def _column(table: Path, suffix: str) -> str:
    names = pq.read_schema(table).names if suffix == ".parquet" else _heading(table, suffix)
    found = [name for name in names if name.lower() == "url"]
    if len(found) != 1:
        raise InputError(f"{table}: no column `url` among {', '.join(names)}; rename the column that holds the URLs")
    return found[0]


def _heading(table: Path, suffix: str) -> list[str]:
    options = pa.csv.ParseOptions(delimiter="\t" if suffix == ".tsv" else ",", newlines_in_values=True)
    with pa.csv.open_csv(table, parse_options=options) as reader:
        names: list[str] = reader.schema.names
    return names


def _refused(folder: Path) -> Iterator[str]:
    for part in sorted(folder.glob("*.parquet")):
        rows = pq.read_table(part, columns=["url", "status", "error_message"]).to_pylist()
        for row in rows:
            if row["status"] != "success":
                yield f"{row['url']}: {' '.join(str(row['error_message']).split())[:REASON]}"

"""A table of URLs becomes a folder of pictures: img2dataset downloads, and says which URLs it could not get.

It works in parts of 10,000 URLs, and a part that is finished is not downloaded again. Whether its URLs are still those
of the table is for us to see.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from labeler.inputs import InputError

URL_SUFFIXES = frozenset([".parquet", ".csv", ".tsv"])
"""Tables of URLs. A `.txt` is one if its first line is a URL."""

URLS_PER_PART = 10_000
"""As many as img2dataset takes by itself; it names pictures by part and place, in five digits and four."""

_PART = re.compile(r"(\d{5})(?:|\.parquet|_stats\.json)")
_OF_A_PART = re.compile(r"\d{6,}\.(?:jpg|json|txt)")

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
    """Download the pictures of a table as they are; parts that an earlier run finished are there.

    A part whose URLs are no longer those of the table is downloaded anew, and so is one of which nothing could be had.

    Args:
        table: a parquet, csv or tsv file with a column `url` (in any case), or a `.txt` with a URL on each line.
        folder: where they go, as img2dataset numbers them: `00000/000000000.jpg`.

    Returns:
        One line for each URL that could not be downloaded. What is downloaded may still be no picture.

    Raises:
        InputError: there is no column of URLs, img2dataset is not installed, or it failed as a whole.
    """
    urls = _urls(table)
    if find_spec("img2dataset") is None:
        raise InputError(f"{table}: img2dataset downloads URLs, and it is not installed; pip install img2dataset")
    _discard_other_parts(folder, urls)
    with tempfile.TemporaryDirectory() as scratch:
        given = Path(scratch, "urls.parquet")
        pq.write_table(pa.table({"url": urls}), given)
        _run(table, given, folder)
    return list(_refused(folder))


def _run(table: Path, urls: Path, folder: Path) -> None:
    options = {
        "url_list": urls,
        "input_format": "parquet",
        "output_folder": folder,
        "output_format": "files",
        "number_sample_per_shard": URLS_PER_PART,
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


def _urls(table: Path) -> pa.ChunkedArray:
    """The URLs of a table in order, null where a row has none: strings that take little more than their letters."""
    suffix = table.suffix.lower()
    if suffix not in URL_SUFFIXES:
        lines = table.read_text("utf-8-sig", "replace").splitlines()
        return pa.chunked_array([[line.strip() for line in lines if line.strip()]], pa.string())
    try:
        names = pq.read_schema(table).names if suffix == ".parquet" else _heading(table, suffix)
        found = [name for name in names if name.lower() == "url"]
        if len(found) != 1:
            raise InputError(
                f"{table}: no column `url` among {', '.join(names)}; rename the column that holds the URLs"
            )
        return _read_column(table, suffix, found[0]).cast(pa.string())
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{table}: not readable as a table of URLs ({str(error).splitlines()[0][:REASON]})") from error


def _read_column(table: Path, suffix: str, name: str) -> pa.ChunkedArray:
    if suffix == ".parquet":
        return pq.read_table(table, columns=[name])[name]
    only = pa.csv.ConvertOptions(include_columns=[name], column_types={name: pa.string()})
    return pa.csv.read_csv(table, parse_options=_parsing(suffix), convert_options=only)[name]


def _heading(table: Path, suffix: str) -> list[str]:
    with pa.csv.open_csv(table, parse_options=_parsing(suffix)) as reader:
        names: list[str] = reader.schema.names
    return names


def _parsing(suffix: str) -> pa.csv.ParseOptions:
    return pa.csv.ParseOptions(delimiter="\t" if suffix == ".tsv" else ",", newlines_in_values=True)


def _discard_other_parts(folder: Path, urls: pa.ChunkedArray) -> None:
    """Take away what img2dataset made of other URLs, or of URLs of which it could get none, and nothing else."""
    parts = {match[1] for path in folder.glob("*") if (match := _PART.fullmatch(path.name))}
    for part in sorted(parts):
        start = int(part) * URLS_PER_PART
        if _was_made_of(folder / f"{part}.parquet", urls.slice(start, URLS_PER_PART).to_pylist()):
            continue
        (folder / f"{part}_stats.json").unlink(missing_ok=True)  # by which img2dataset knows what is finished
        (folder / f"{part}.parquet").unlink(missing_ok=True)
        for file in (folder / part).glob("*"):
            if _OF_A_PART.fullmatch(file.name):
                file.unlink()
        with suppress(OSError):
            (folder / part).rmdir()  # unless something else is in it


def _was_made_of(table: Path, urls: list[str | None]) -> bool:
    """Whether a finished part has these URLs in this order, and a picture of at least one of them."""
    try:
        rows = pq.read_table(table, columns=["key", "url", "status"]).to_pylist()
    except (OSError, ValueError, pa.ArrowException):  # it is not there, or damaged
        return False
    there = [row["url"] for row in sorted(rows, key=lambda row: int(row["key"]))]
    return there == urls and any(row["status"] == "success" for row in rows)


def _refused(folder: Path) -> Iterator[str]:
    for part in sorted(folder.glob("*.parquet")):
        rows = pq.read_table(part, columns=["url", "status", "error_message"]).to_pylist()
        for row in rows:
            if row["status"] != "success":
                yield f"{row['url']}: {' '.join(str(row['error_message']).split())[:REASON]}"

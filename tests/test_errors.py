"""What a new user runs into: one line that says what is wrong and what to do, an exit code, nothing half-written.

Here stands what the tests of the single parts do not hold already: tests/test_cli.py has command lines that do not fit,
tests/test_labeler.py an index that cannot be used and Ctrl-C, tests/test_builder_extras.py two builders at once,
tests/test_inputs.py and tests/test_pictures.py every kind of input, tests/test_weights.py a machine without a hub.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from conftest import LetterCounter, contents, heed_interrupts, write_captions
from PIL import Image

from build_index import pipeline
from build_index.__main__ import main as build_main
from labeler import inputs
from labeler.__main__ import main as label_main
from labeler.exports import read_record
from shards import commands, layout, verify
from shards.parts import write_array

MAINS = {
    "build_index": "build_index.__main__",
    "labeler": "labeler.__main__",
    "labeler.demo": "labeler.demo",
    "search": "build_index.search",
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the untrained network, pictures that are sound and some that are not, and odd files of captions."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "captions.csv").write_text("caption\na dog on a beach\na red car\ngreen grass\n")
    flags = ["--preset", "untrained", "--out", str(folder / "shards"), "--workers", "1"]
    assert build_main(["--corpus", str(folder / "captions.csv"), *flags]) == 0
    shutil.copytree(folder / "shards", folder / "torn")
    manifest = folder / "torn/captions/manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:500])
    for name in ("pictures/deep", "empty"):
        (folder / name).mkdir(parents=True)
    generator = np.random.default_rng(3)
    for name in ("pictures/a.png", "pictures/deep/b.png"):
        noise = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        noise.resize((80, 60), Image.Resampling.BICUBIC).save(folder / name)
    shutil.copytree(folder / "pictures", folder / "bad")
    (folder / "bad/x.jpg").mkdir()
    (folder / "bad/zero.png").touch()
    (folder / "bad/words.jpg").write_text("no picture")
    (folder / "bad/torn.png").write_bytes((folder / "pictures/a.png").read_bytes()[:300])
    (folder / "numbers.csv").write_text("a,b\n1,2\n3,4\n")
    (folder / "nothing.csv").touch()
    (folder / "utf16.csv").write_bytes("caption\na tree\n".encode("utf-16"))
    (folder / "torn.parquet").write_bytes(b"PAR1 and no more")
    return folder


BUILD = ["--preset", "untrained", "--out", "built", "--workers", "1", "--corpus"]
LABEL = ["--index", "shards", "--out", "labels", "--short-side", "64"]
REFUSED = [
    ("labeler", ["nowhere", *LABEL], "error: nowhere: no such file, folder or glob"),
    ("labeler", ["empty", *LABEL], "error: empty: no pictures there (looked for .apng .avif "),
    ("labeler", ["x" * 5_000, *LABEL], f"error: {'x' * 5_000}: File name too long; choose a shorter name"),
    ("labeler", ["bad/x.jpg", *LABEL], "error: bad/x.jpg: no pictures there (looked for "),
    ("labeler", ["pictures", *LABEL, "--index", "nowhere"], "error: nowhere: no such folder; build an index with: pyt"),
    (
        "labeler",
        ["pictures", *LABEL, "--index", "empty"],
        "error: empty: no index here (no manifest.json); build one: ",
    ),
    ("labeler", ["pictures", *LABEL, "--index", "captions.csv"], "error: captions.csv: a file, where the folder of an"),
    ("labeler", ["pictures", *LABEL, "--index", "torn"], "error: torn/captions/manifest.json: not valid JSON (Expecti"),
    ("labeler", ["pictures", *LABEL, "--preset", "pocket"], "error: shards/captions holds vectors of untrained, "),
    ("labeler", ["pictures", *LABEL, "--dino", "nonsense"], "error: --dino nonsense: timm knows no such model; "),
    ("labeler", ["pictures", *LABEL, "--device", "gpu"], "error: --device gpu: torch has no such device here; use a"),
    ("labeler", ["pictures", *LABEL, "--device", "meta"], "error: --device meta: torch has no such device here; use "),
    ("labeler", ["pictures/a.png", *LABEL, "--out", "pictures"], "error: --out pictures: labels of pictures/a.png wo"),
    ("labeler", ["pictures/*.png", *LABEL, "--out", "."], "error: pictures/*.png: all 1 pictures there lie below --o"),
    ("labeler", ["pictures", *LABEL, "--out", "captions.csv"], "error: --out captions.csv: "),
    ("labeler", ["pictures", *LABEL, "--out", "captions.csv/deep"], "error: --out captions.csv/deep: "),
    (
        "labeler",
        ["pictures", *LABEL, "--json-log", "empty"],
        "error: --json-log empty: Is a directory; name a file tha",
    ),
    ("labeler", ["pictures", "--method", "tga"], "python -m labeler: error: argument --method: 'tga' is none of def"),
    ("labeler", ["pictures", "--short-side", "99999"], "python -m labeler: error: --short-side 99999: must be 1 to 4"),
    ("build_index", [*BUILD, "nowhere"], "error: --corpus nowhere: no such file, folder or glob, and no preset (pres"),
    (
        "build_index",
        [*BUILD[:-1], "--words", "nowhere"],
        "error: --words nowhere: no such file, folder or glob, and no ",
    ),
    ("build_index", [*BUILD, "empty"], "error: --corpus empty: no captions below that folder (looked for .parquet, "),
    ("build_index", [*BUILD, "numbers.csv"], "error: numbers.csv: cannot tell which column holds the captions; choose"),
    ("build_index", [*BUILD, "captions.csv", "--caption-column", "text"], "error: captions.csv: no column text; its c"),
    (
        "build_index",
        [*BUILD, "nothing.csv"],
        "error: built/nothing: not one caption could be used (no rows: nothing.csv: no",
    ),
    ("build_index", [*BUILD, "torn.parquet"], "error: built/torn: not one caption could be used (damaged: torn.parqu"),
    ("build_index", [*BUILD, "utf16.csv"], "error: built/utf16: not one caption could be used (damaged: utf16.csv a"),
    ("build_index", [*BUILD, "x", "--least-captions", "-1"], "python -m build_index: error: --least-captions -1: must"),
    ("build_index", ["--append", "captions.csv", "--name", "captions", "--preset", "pocket"], None),
    (  # nothing to embed, and so no network that could be compared
        "build_index",
        ["--append", "captions.csv", "--name", "captions", "--preset", "default"],
        "error: shards/captions holds vectors of untrained, 128-d, text weights sha256:",
    ),
    ("labeler.demo", ["captions.csv"], "error: captions.csv: it, or a folder above it, is a file; choose another fold"),
    (
        "labeler.demo",
        ["captions.csv/deep"],
        "error: captions.csv/deep: it, or a folder above it, is a file; choose ano",
    ),
    ("search", ["shards", "a dog", "--k", "0"], "python -m build_index.search: error: --k 0: must be 1 or more"),
]


@pytest.mark.parametrize(
    ("command", "arguments", "message"), REFUSED, ids=[" ".join(each[1])[:200] for each in REFUSED]
)
def test_a_refusal_is_one_line_and_leaves_nothing(
    workplace: Path,
    command: str,
    arguments: list[str],
    message: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(workplace)
    before = everything(workplace)
    if message is None:  # the index is of another CLIP than what is asked for
        (workplace / "more.csv").write_text("caption\na cat\n")
        arguments = ["--append", "more.csv", *arguments[2:]]
        message = "error: shards/captions holds vectors of untrained, 128-d, text weights sha256:"
        before = everything(workplace)
    try:
        code = import_module(MAINS[command]).main(arguments)
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    lines = [line for line in said.err.replace("\r", "\n").splitlines() if line and not line.startswith("captions: ")]
    assert len(lines) == 1, said.err
    assert lines[0].startswith(message)
    assert everything(workplace) == before
    assert not (workplace / "built").exists()


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_build_that_was_refused_is_not_in_the_way_of_the_next(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--corpus", str(workplace / "numbers.csv"), "--out", str(tmp_path), "--workers", "1"]
    assert build_main([*flags, "--preset", "pocket"]) == 2
    assert build_main([*flags, "--preset", "untrained", "--caption-column", "a"]) == 0
    assert "2 captions" in capsys.readouterr().out


def test_pictures_that_cannot_be_read_are_named_and_the_others_labelled(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--index", str(workplace / "shards"), "--short-side", "64", "--out"]
    assert label_main([str(workplace / "bad"), *flags, str(tmp_path / "labels")]) == 1
    said = capsys.readouterr().out
    assert "2 pictures labelled" in said
    refused = {line.split(": ", 1)[0].rpartition("/")[2]: line for line in said.splitlines() if "  refused " in line}
    assert refused["zero.png"].endswith("empty, 0 bytes; get the file again")
    assert "damaged or cut short" in refused["torn.png"]
    assert "not a picture this program reads (" in refused["words.jpg"]
    assert len(refused) == 3
    assert label_main([str(workplace / "bad/zero.png"), *flags, str(tmp_path / "none")]) == 1
    assert "report.html" not in capsys.readouterr().out  # there is none
    assert not (tmp_path / "none").exists()


# --- the disk --------------------------------------------------------------------------------------------------------


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk, a file that grows beyond `size` bytes is cut off there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [60, 500, 1_800])
def test_labels_on_a_full_disk_are_whole_or_not_there(
    workplace: Path, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pillow, told to write to a file, cuts a JPEG short there and says nothing."""
    flags = [str(workplace / "pictures"), "--index", str(workplace / "shards"), "--short-side", "64", "--out"]
    if not (workplace / "whole").exists():
        assert label_main([*flags, str(workplace / "whole")]) == 0
    whole, full_disk = everything(workplace / "whole"), workplace / f"full-{size}"
    capsys.readouterr()
    with files_of_at_most(size):
        assert label_main([*flags, str(full_disk)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {full_disk}/")
    assert error.endswith(": File too large; make room, then run the same command again")
    full = everything(full_disk)
    assert full.items() <= whole.items()
    for name in full:
        if read_record(full_disk / name) is not None:  # which says that all is there
            assert {name.replace(".json", suffix) for suffix in (".png", ".overlay.jpg")} <= full.keys()
    assert label_main([*flags, str(full_disk)]) == 0
    assert everything(full_disk) == whole


@pytest.mark.parametrize("rows", [300, 100_000])
def test_an_array_on_a_full_disk(tmp_path: Path, rows: int, capsys: pytest.CaptureFixture[str]) -> None:
    """NumPy's own `tofile` raises an error without a number, which nobody can tell from a bug."""
    path = tmp_path / "vectors-00000.npy"
    array = np.resize(np.arange(100, dtype="<f2"), (rows, 27))
    with files_of_at_most(5_000):
        assert commands.run(lambda: write_array(path, array).bytes) == 2
    error = capsys.readouterr().err
    assert error == f"error: {path}: File too large; make room, then run the same command again\n"
    assert list(tmp_path.iterdir()) == []
    write_array(path, array)
    np.testing.assert_array_equal(np.load(path), array)


def test_an_index_on_a_full_disk_is_finished_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At every size of a file at which the disk may be full. FAISS, given a path, cuts an index short silently."""
    monkeypatch.setattr(pipeline, "load_encoder_of", lambda *_: LetterCounter())
    corpus = write_captions(tmp_path / "mine.parquet", ["a dog on a beach", "two cats", "a red car", "green grass"])
    flags = ["--corpus", str(corpus), "--workers", "1", "--out"]
    assert build_main([*flags, str(tmp_path / "whole")]) == 0
    whole = contents(tmp_path / "whole/mine")
    sizes = sorted({len(data) for data in whole.values()})
    assert len(sizes) > 5
    for size in sizes:
        out = tmp_path / f"full-{size}"
        capsys.readouterr()
        with files_of_at_most(size - 1):
            assert build_main([*flags, str(out)]) == 2
        error = capsys.readouterr().err.replace("\r", "\n").splitlines()[-1]
        assert error.startswith(f"error: {out / 'mine'}/")
        assert error.endswith("; make room, then run the same command again")
        left = contents(out / "mine") if out.exists() else {}  # where not even a plan could be written
        assert "manifest.json" not in left
        assert not [name for name in left if name.endswith(layout.PARTIAL)]
        assert build_main([*flags, str(out)]) == 0
        assert contents(out / "mine") == whole
        assert list(verify(out / "mine")) == []


def test_a_folder_that_may_not_be_written_is_refused_before_anything_is_loaded(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    monkeypatch.setattr(inputs.os, "access", lambda path, mode: path != closed)  # the tests may be run by root
    flags = ["--index", str(workplace / "shards"), "--out", str(closed / "labels")]
    assert label_main([str(workplace / "pictures"), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"error: --out {closed / 'labels'}: nothing may be written to {closed}; "
        "choose another folder, or its permissions"
    )


def test_a_file_in_the_way_of_a_folder_of_labels(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/deep").write_text("a file where deep/b.png has its labels")
    flags = ["--index", str(workplace / "shards"), "--short-side", "64", "--out", str(tmp_path / "labels")]
    assert label_main([str(workplace / "pictures"), *flags]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"error: {tmp_path / 'labels/deep'}: no folder can be made (File exists); choose another --out"


def test_too_little_memory_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    from shards import commands

    def hungry() -> int:
        raise MemoryError("Unable to allocate 9.00 TiB")

    assert commands.run(hungry) == 2
    said = "error: not enough memory (Unable to allocate 9.00 TiB); use smaller pictures or batches\n"
    assert capsys.readouterr().err == said


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def test_commands_heed_ctrl_c_before_anything_that_takes_time_is_loaded() -> None:
    commands_ = [
        "build_index.__main__",
        "build_index.search",
        "evaluation.__main__",
        "labeler.__main__",
        "shards.__main__",
    ]
    program = f"import sys, {', '.join(commands_)}; print({{'numpy', 'pyarrow', 'msgspec'}} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"


def test_ctrl_c_while_a_command_loads_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "labeler.config":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "labeler.config", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert label_main(["pictures"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_ctrl_c_in_a_build_costs_the_part_in_flight(tmp_path: Path) -> None:
    """As a terminal sends it: to the builder and to the processes that look for its concepts."""
    words = np.random.default_rng(0).integers(0, 26, (30_000, 12)) + ord("a")
    (tmp_path / "many.txt").write_text("\n".join("".join(map(chr, word)) for word in words.tolist()))
    command = [sys.executable, "-m", "build_index", "--corpus", "many.txt", "--preset", "untrained"]
    process = subprocess.Popen(
        [*command, "--rows-per-part", "64", "--workers", "2"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    end = time.monotonic() + 120
    while not (tmp_path / "shards/many/captions-00001.parquet").exists() and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert err.endswith("interrupted\n")
    assert "Traceback" not in err
    left = contents(tmp_path / "shards/many")
    assert "plan.json" in left
    assert "manifest.json" not in left
    assert not [name for name in left if name.endswith(layout.PARTIAL)]

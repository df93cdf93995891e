"""What the benchmarks count and measure, against the obvious way of doing it."""

import ast
import importlib
import os
import subprocess
import sys
import tarfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from benchmarks.encode_text import agreement, precision_of, rate
from benchmarks.memory import PeakMemory, descendants
from benchmarks.peers.asked import share_found
from benchmarks.peers.tars import write_tars
from benchmarks.tower import (
    TextTower,
    padded_flops,
    read_captions,
    shared_flops,
    token_lengths,
    tower_of,
    trees_of,
    useful_flops,
    write_captions,
)
from build_index.search_index import tuning

TOWER = TextTower(width=4, layers=3, mlp=4.0, dimension=5)


def product(rows: int, inner: int, columns: int) -> int:
    """Operations of [rows, inner] times [inner, columns]."""
    return 2 * rows * inner * columns


def flops_of_one(length: int, attended: list[int]) -> int:
    """A caption through every layer of TOWER, product by product; its tokens attend to so many each."""
    width, total = TOWER.width, product(1, TOWER.width, TOWER.dimension)
    for _ in range(TOWER.layers):
        for outputs in (width, width, width, width):  # queries, keys, values, output
            total += product(length, width, outputs)
        total += product(length, width, 4 * width) + product(length, 4 * width, width)
        for seen in attended:
            total += product(1, width, seen) + product(1, seen, width)
    return total


BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_takes_from_the_programs_is_there(path: Path) -> None:
    ours = {folder.parent.name for folder in BENCHMARKS.parent.glob("*/__init__.py")} | {"benchmarks"}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ours:
            there = importlib.import_module(node.module)
            for name in (each.name for each in node.names):
                assert hasattr(there, name) or find_spec(f"{node.module}.{name}"), f"{node.module} has no {name}"


def test_useful_work_is_that_of_each_caption_alone() -> None:
    lengths = np.array([3, 7, 1])
    slow = sum(flops_of_one(length, list(range(1, length + 1))) for length in lengths.tolist())
    assert useful_flops(lengths, TOWER) == slow


def test_padded_work_fills_every_place_and_attends_to_all() -> None:
    assert padded_flops(9, 2, TOWER) == 2 * flops_of_one(9, [9] * 9)


def test_shared_work_is_less_by_the_last_block_and_by_what_is_shared() -> None:
    one = shared_flops([(np.arange(5), np.array([5]))], TOWER)
    last_block_elsewhere = 4 * sum(product(1, *shape) for shape in ((4, 4), (4, 4), (4, 16), (16, 4)))  # 4 other tokens
    last_attention_elsewhere = sum(product(1, 4, seen) + product(1, seen, 4) for seen in range(1, 5))
    assert one == useful_flops(np.array([5]), TOWER) - last_block_elsewhere - last_attention_elsewhere
    apart = shared_flops([(np.r_[np.arange(5), np.arange(5)], np.array([5, 5]))], TOWER)
    assert apart == 2 * one
    assert shared_flops([(np.r_[np.arange(5), 4], np.array([5, 5]))], TOWER) < apart  # alike but for their ends


def test_trees_hold_every_distinct_beginning_once() -> None:
    tokens = np.zeros((4, 8), np.int64)
    for row, caption in enumerate(([9, 1, 2, 99], [9, 1, 3, 99], [9, 1, 2, 4, 99], [9, 99])):
        tokens[row, : len(caption)] = caption
    ((positions, lengths),) = trees_of(tokens, "cpu")
    beginnings = {tuple(row[: end + 1]) for row in tokens.tolist() for end in range(row.index(99) + 1)}
    assert sorted(positions.tolist()) == sorted(len(each) - 1 for each in beginnings)
    assert sorted(lengths.tolist()) == sorted(token_lengths(tokens).tolist()) == [2, 4, 4, 5]


def test_the_sizes_of_a_known_tower() -> None:
    assert tower_of("ViT-B-32") == TextTower(width=512, layers=12, mlp=4.0, dimension=512)


def test_captions_are_different_repeatable_and_enough(tmp_path: Path) -> None:
    files = [write_captions(tmp_path / "a.parquet", ["one", "two", "", "two"]), tmp_path / "b.parquet"]
    write_captions(files[1], ["three", "one"])
    drawn = read_captions(files, 2)
    assert drawn == read_captions(files, 2)
    assert sorted(read_captions(files, 0)) == ["one", "three", "two"]
    with pytest.raises(SystemExit, match="3 distinct captions, 4 wanted"):
        read_captions(files, 4)


def test_tars_hold_every_caption_in_order(tmp_path: Path) -> None:
    captions = ["a dog", "größe 😀", "line\nbreak", "fourth", "last"]
    paths = write_tars(tmp_path / "tars", captions, workers=4)
    found = []
    for path in paths:
        with tarfile.open(path) as tar:
            found += [tar.extractfile(member).read().decode() for member in tar.getmembers()]  # type: ignore[union-attr]
    assert len(paths) >= 4  # one for each worker at least
    assert found == captions


def test_rates_are_medians_over_the_rounds() -> None:
    found = rate(10, [8.0, 2.0, 1.0], {"useful": 8 * 10**9, "computed": None}, [2.0, 16.0, 9.0])
    rates = {"captions_per_s": 5.0, "ceiling_gflops": 9.0, "useful_gflops": 4.0}
    assert found == {**rates, "useful_of_ceiling": 0.5}  # of 1 / 2, 4 / 16 and 8 / 9


def test_agreement_counts_lost_captions() -> None:
    reference = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = agreement(np.array([[1.0, 0.0], [np.nan, np.nan], [0.6, 0.8]]), reference)
    assert found["below_0.9999"] == 2
    assert agreement(reference, reference) == {"cosine_min": 1.0, "cosine_mean": 1.0, "below_0.9999": 0}


def test_clip_retrieval_casts_on_a_gpu_alone() -> None:
    assert precision_of("clip-retrieval, mapper", "cpu") == "fp32"
    assert precision_of("clip-retrieval, mapper", "cuda") == "bf16"
    assert precision_of("ours, bf16", "cpu") == "bf16"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="memory is read from Linux's /proc")
def test_memory_is_that_of_grandchildren_too() -> None:
    held = "x = bytearray(60_000_000); print(flush=True); import time; time.sleep(60)"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {held!r}])"
    child = subprocess.Popen([sys.executable, "-c", nested], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert child.stdout
        child.stdout.readline()  # the grandchild holds its memory now
        with PeakMemory(child.pid) as peak:
            deadline = time.monotonic() + 20
            while peak.anonymous < 60 and time.monotonic() < deadline:
                time.sleep(0.1)
        assert len(list(descendants(child.pid))) == 2
        assert 60 < peak.anonymous < peak.megabytes < 400
    finally:
        os.killpg(child.pid, 9)
        child.communicate()


def test_peers_have_their_recall_counted_as_ours_is() -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    found, truth = (generator.permuted(np.tile(np.arange(20), (30, 1)), axis=1)[:, :8] for _ in range(2))
    own = generator.integers(0, 20, 30)
    assert share_found(found, truth, own) == tuning.share_found(found, truth, own=own)
    hits = [len((set(some) & set(true)) - {row}) for some, true, row in zip(found, truth, own, strict=True)]
    asked = sum(len(set(true) - {row}) for true, row in zip(truth, own, strict=True))
    assert share_found(found, truth, own) == sum(hits) / asked

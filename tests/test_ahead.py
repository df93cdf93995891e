"""Work ahead on several threads: in order, bounded, and what threads share."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from threadpoolctl import threadpool_info
from torch import nn

from build_index.__main__ import main as build_index
from encoders import threads
from encoders.last_picture import LastPicture
from encoders.threads import PictureThreads
from labeler.ahead import ahead, batches
from labeler.pipeline import Labeler


def slow_double(number: int) -> int:
    """Twice the number; small ones take longest."""
    time.sleep(0.02 / (1 + number))
    if number == 5:
        raise ValueError("five")
    return 2 * number


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order(workers: int) -> None:
    assert list(ahead(slow_double, range(5), workers=workers, most=7)) == [2 * number for number in range(5)]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_comes_where_its_result_would(workers: int) -> None:
    results = ahead(slow_double, range(9), workers=workers, most=4)
    assert list(islice(results, 5)) == [0, 2, 4, 6, 8]
    with pytest.raises(ValueError, match="five"):
        next(results)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_of_the_items_comes_after_the_results_before_it(workers: int) -> None:
    def items() -> Iterator[int]:
        yield from range(4)
        raise OSError("no more")

    found: list[list[int]] = []
    with pytest.raises(OSError, match="no more"):
        found.extend(batches(ahead(slow_double, items(), workers=workers, most=9), 3))
    assert found == [[0, 2, 4], [6]]


def test_no_more_is_taken_than_may_be_ahead() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    results = ahead(lambda number: number, numbers(), workers=2, most=4)
    for place in range(3):
        assert next(results) == place
        assert len(taken) == place + 4
    results.close()
    assert len(taken) == 6


def test_closing_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    started: list[str] = []
    results = ahead(
        slow_double, range(5), workers=2, most=3, start=lambda: started.append(threading.current_thread().name)
    )
    assert next(results) == 0
    assert len(set(started)) == 2
    results.close()
    assert threading.active_count() == before


# --- what threads share ----------------------------------------------------------------------------------------------


def test_every_thread_has_a_last_picture_of_its_own() -> None:
    asked: list[int] = []

    def compute(picture: np.ndarray) -> int:
        asked.append(int(picture.max()))
        return asked[-1]

    remembered = LastPicture(compute)
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in (1, 2)]
    barrier = threading.Barrier(2)
    answers: dict[int, list[int]] = {}

    def look(number: int) -> None:
        answers[number] = []
        for _ in range(20):
            barrier.wait()  # both ask at the same time
            answers[number].append(remembered(pictures[number]))

    both = [threading.Thread(target=look, args=(number,)) for number in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert answers == {0: [1] * 20, 1: [2] * 20}
    assert sorted(asked) == [1, 2]


def product_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize("small", [True, False])
def test_limits_hold_inside_and_are_lifted_after(small: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    network = nn.Linear(3, 3)
    monkeypatch.setattr(threads, "SMALL", 12 if small else 11)
    limits = PictureThreads([network, network], "cpu")
    assert limits.workers == (threads.processors() if small else 1)
    assert PictureThreads([network], "cuda").workers == 1
    before, products = torch.get_num_threads(), product_threads()
    torch.set_num_threads(3)
    try:
        with limits.limited(), limits.limited():
            assert torch.get_num_threads() == (1 if small else 3)
            assert product_threads() == {1}
        assert torch.get_num_threads() == 3
        assert product_threads() == products
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Labeler:
    out = tmp_path_factory.mktemp("index") / "shards"
    assert build_index(["--corpus", "demo", "--preset", "pocket", "--out", str(out)]) == 0
    return Labeler.open(out, short_side=96, batch_size=3)


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("intra", [1, 2])
def test_pictures_side_by_side_are_labelled_as_alone(pocket: Labeler, workers: int, intra: int) -> None:
    """Whatever torch's number of threads is, and however many pictures are seen at a time."""
    generator = np.random.default_rng(3)
    noise = generator.integers(0, 256, (7, 6, 8, 3), dtype=np.uint8)
    pictures = [each.repeat(20, axis=0).repeat(20, axis=1) for each in noise]
    alone = [pocket.label(picture) for picture in pictures]
    before = torch.get_num_threads()
    torch.set_num_threads(intra)
    try:
        limits = PictureThreads([], "cpu")
        limits.workers = workers
        together = list(
            Labeler(replace(pocket.models, threads=limits), pocket.retriever, pocket.config).label_many(pictures)
        )
    finally:
        torch.set_num_threads(before)
    assert len(together) == len(pictures)
    for one, other, picture in zip(alone, together, pictures, strict=True):
        assert one.labels == other.labels  # scores to the last bit
        np.testing.assert_array_equal(one.segments.label_map, other.segments.label_map)
        np.testing.assert_array_equal(other.picture, picture)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_buffer_may_be_used_again_for_the_next_picture(pocket: Labeler, workers: int) -> None:
    noise = np.random.default_rng(4).integers(0, 256, (6, 6, 8, 3), dtype=np.uint8)
    frames = noise.repeat(20, axis=1).repeat(20, axis=2)
    alone = [pocket.label(frame) for frame in frames]
    limits = PictureThreads([], "cpu")
    limits.workers = workers
    labeler = Labeler(replace(pocket.models, threads=limits), pocket.retriever, pocket.config)
    buffer = np.empty_like(frames[0])
    strip = Image.new("RGB", (160, 120))

    def into_the_buffer() -> Iterator[np.ndarray]:
        for frame in frames:
            buffer[:] = frame
            yield buffer

    def into_the_strip() -> Iterator[Image.Image]:
        for frame in frames:
            strip.paste(Image.fromarray(frame))
            yield strip

    for pictures in (into_the_buffer(), into_the_strip()):
        for one, other, frame in zip(alone, labeler.label_many(pictures), frames, strict=True):
            assert one.labels == other.labels
            assert one.segments == other.segments
            np.testing.assert_array_equal(other.picture, frame)
    for labeled in (labeler.label(buffer), labeler.name(buffer, alone[-1].segments)):
        assert labeled.picture is not None
        assert not np.may_share_memory(labeled.picture, buffer)


def test_the_small_pair_is_small(pocket: Labeler, tmp_path: Path) -> None:
    assert pocket.models.threads.workers == threads.processors()
    assert list(pocket.label_many([])) == []
    with pytest.raises(Exception, match="not a file"):
        list(pocket.label_many([tmp_path / "none.jpg"]))

"""Which of two runs is better: the paired bootstrap by hand, against a loop, and as a command."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluation.bootstrap import Difference, Sums, compare
from evaluation.compare import main
from evaluation.errors import EvaluationError
from evaluation.metrics.confusion import mean_iou
from evaluation.results import PICTURES, RESULTS, RESULTS_VERSION, Pictures, read_pictures, write_pictures
from evaluation.scores import Cells

Counts = NDArray[np.int64]


def some_runs(pictures: int, classes: int, seed: int) -> tuple[Counts, Counts]:
    """Confusions of two runs on the same ground truth; most pictures lack most classes."""
    random = np.random.default_rng(seed)
    stood = random.integers(1, 40, size=(pictures, classes)) * (random.random((pictures, classes)) < 0.4)
    runs = []
    for _ in range(2):
        shares = random.dirichlet(np.ones(classes + 1), size=(pictures, classes))
        counts = np.floor(shares * stood[:, :, None]).astype(np.int64)
        counts[:, :, -1] += stood - counts.sum(axis=2)
        runs.append(counts)
    return runs[0], runs[1]


def slow(first: Counts, second: Counts, resamples: int, seed: int) -> list[float]:
    """Every drawn picture added up by itself, scored by the function that scores whole data sets."""
    drawn = np.random.default_rng(seed).integers(len(first), size=(resamples, len(first)))
    differences = []
    for chosen in drawn:
        sums = [sum((run[at] for at in chosen), np.zeros_like(run[0])) for run in (first, second)]
        before, after = (0.0 if np.isnan(mean_iou(total)) else mean_iou(total) for total in sums)
        differences.append(after - before)
    return differences


@given(pictures=st.integers(1, 7), classes=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_interval_against_a_loop(pictures: int, classes: int, seed: int) -> None:
    first, second = some_runs(pictures, classes, seed)
    first[0, 0, 0] += 1
    second[0, 0, -1] += 1  # some pixel has a class
    found = compare(first, second, resamples=60, confidence=0.9, seed=seed)
    differences = slow(first, second, 60, seed)
    assert found.first == pytest.approx(mean_iou(first.sum(axis=0)), abs=1e-12)
    assert found.second == pytest.approx(mean_iou(second.sum(axis=0)), abs=1e-12)
    assert found.low == pytest.approx(np.quantile(differences, 0.05), abs=1e-12)
    assert found.high == pytest.approx(np.quantile(differences, 0.95), abs=1e-12)


def test_an_interval_by_hand() -> None:
    # Two pictures of one class, 1 pixel each: A misses both, B hits the first. A resample has the first picture
    # 0, 1 or 2 times with chances 1/4, 1/2, 1/4, and B's IoU is 0, 1/2 or 1.
    first = np.array([[[0, 1]], [[0, 1]]])
    second = np.array([[[1, 0]], [[0, 1]]])
    found = compare(first, second, resamples=4_000)
    assert (found.first, found.second, found.difference) == (0.0, 0.5, 0.5)
    assert (found.low, found.high) == (0.0, 1.0)
    assert not found.is_clear
    assert found.better == pytest.approx(3 / 4 + 1 / 8, abs=0.03)


def test_a_run_equals_itself_and_the_order_of_runs_turns_the_sign() -> None:
    first, second = some_runs(30, 5, seed=1)
    same = compare(first, first, resamples=500)
    assert (same.difference, same.low, same.high, same.better) == (0, 0, 0, 0.5)
    there, back = compare(first, second, resamples=500), compare(second, first, resamples=500)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.better == pytest.approx(1 - back.better)


def test_resampling_goes_on_in_the_same_way_over_chunks() -> None:
    first, second = some_runs(9, 3, seed=2)
    found = compare(first, second, resamples=600, seed=3)
    differences = slow(first, second, 600, seed=3)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    # Pictures drawn from a world in which B's true advantage is known: 0.2 of pixels more.
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        hits = random.binomial(50, [0.5, 0.7], size=(60, 2))
        runs = [np.stack([hits[:, run], 50 - hits[:, run]], axis=1)[:, None, :] for run in range(2)]
        found = compare(*runs, resamples=300, seed=trial)
        covered += found.low <= 0.2 <= found.high
    assert 0.9 <= covered / 200 <= 0.99


def test_sums_of_cells_are_those_of_matrices() -> None:
    counts, _ = some_runs(12, 4, seed=5)
    whole, sparse = Sums.of(counts), Sums.of_cells(Cells.of(counts), 12, 4)
    for name in ("hits", "stood", "said"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(sparse, name))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((2, 3, 3), np.int64), np.zeros((2, 3, 3), np.int64), r"\[P, C, C \+ 1\], found \[2, 3, 3\]"),
        (np.ones((2, 3, 4), np.int64), np.ones((5, 3, 4), np.int64), r"\[2, 3\], run B \[5, 3\]"),
        (np.ones((2, 3, 4), np.int64), np.ones((2, 3, 4), np.int64) * [[[1]], [[2]]], "picture 1 has another ground"),
        (np.zeros((2, 3, 4), np.int64), np.zeros((2, 3, 4), np.int64), "no pixel with a class in 2 pictures"),
    ],
)
def test_what_is_no_pair_is_refused(first: Counts, second: Counts, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(first, second)


# --- the command -----------------------------------------------------------------------------------------------------


def write_run(folder: Path, counts: Counts, *, ids: tuple[str, ...] | None = None, **protocol: Any) -> Path:
    folder.mkdir()
    names = ids or tuple(f"p{number}" for number in range(len(counts)))
    classes = tuple(f"c{number}" for number in range(counts.shape[1]))
    rows = {"labeler/hard": Cells.of(counts), f"only/{folder.name}": Cells.of(counts)}
    write_pictures(folder / PICTURES, Pictures(names, classes, rows))
    content = {
        "version": RESULTS_VERSION,
        "protocol": {"classes": "sha256:1", "size": "native", **protocol},
        "mappings": [],
    }
    (folder / RESULTS).write_text(json.dumps(content))
    return folder


def test_the_command_compares_the_rows_that_both_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = some_runs(20, 3, seed=7)
    one, two = write_run(tmp_path / "a", first), write_run(tmp_path / "b", second)
    assert main([str(one), str(two / RESULTS), "--resamples", "200"]) == 0
    printed = capsys.readouterr().out
    found = compare(first, second, resamples=200)
    assert f"labeler/hard: A {found.first * 100:.1f}, B {found.second * 100:.1f}" in printed
    assert f"[{found.low * 100:+.1f}, {found.high * 100:+.1f}] at 95 % over 20 pictures" in printed
    assert "only/" not in printed


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"size": "tag"}, [], "run A has size native, run B tag"),
        ({"classes": "sha256:2"}, [], "run A has classes sha256:1, run B sha256:2"),
        ({"ids": ("p0", "q1", "p2")}, [], "2 are in one only, such as p1"),
        ({"ids": ("p1", "p0", "p2")}, [], "in another order"),
        ({}, ["--row", "oracle"], "no row 'oracle' in both"),
    ],
)
def test_runs_that_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], arguments: list[str], message: str
) -> None:
    counts = np.ones((3, 2, 3), np.int64)
    one, two = write_run(tmp_path / "a", counts), write_run(tmp_path / "b", counts, **changes)
    assert main([str(one), str(two), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_is_not_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_run(tmp_path / "a", np.ones((3, 2, 3), np.int64))
    assert main([str(one), str(tmp_path / "none.json")]) == 2
    assert "no finished evaluation can be read" in capsys.readouterr().err
    (one / PICTURES).unlink()
    assert main([str(one), str(one)]) == 2
    assert "no confusions of pictures can be read" in capsys.readouterr().err


FINISHED = '{"version": 1, "protocol": {"classes": "sha256:1", "size": "native"}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no finished evaluation can be read"),
        ("{", "no finished evaluation can be read"),
        ("[" * 100_000, "no finished evaluation can be read"),
        ("[]", "Expected `object`, got `array`"),
        ("{}", "missing required field `version`"),
        (
            '{"protocol": {"classes": "sha256:1", "size": "native"}, "fingerprint": []}',
            "missing required field `version`",
        ),
        ('{"version": 2}', "Invalid enum value 2 - at `$.version`"),
        ('{"version": 1}', "missing required field `protocol`"),
        ('{"version": 1, "protocol": 3}', "Expected `object`, got `int` - at `$.protocol`"),
        ('{"version": 1, "protocol": {}}', "missing required field `classes` - at `$.protocol`"),
        (f"{FINISHED}}}", "missing required field `mappings`"),
        (f'{FINISHED}, "mappings": 3}}', "Expected `array`, got `int` - at `$.mappings`"),
        (f'{FINISHED}, "mappings": ["hard"]}}', "Expected `object`, got `str` - at `$.mappings[0]`"),
        (f'{FINISHED}, "mappings": [{{"name": "hard"}}]}}', "missing required field `version` - at `$.mappings[0]`"),
    ],
)
def test_figures_that_were_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    one = write_run(tmp_path / "a", np.ones((3, 2, 3), np.int64))
    (one / RESULTS).write_text(content)
    assert main([str(one), str(one)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {one / RESULTS}: ")
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": [1]}, "expected one length of all columns, found row 36, picture 36, truth 36, said 36, pixels 1"),
        ({"row": [0]}, "expected one length of all columns, found row 1, "),
        ({"row": [[0]]}, "row: expected a list of whole numbers, found int64 of shape [1, 1]"),
        ({"pixels": 0.5}, "pixels: expected a list of whole numbers, found float64 of shape []"),
        ({"ids": [1, 2, 3]}, "ids: expected a list of strings, found int64 of shape [3]"),
        ({"rows": ["labeler/hard"]}, "row: expected numbers of 0 and more, below 1, found 1"),
        ({"ids": ["p0"]}, "picture: expected numbers of 0 and more, below 1, found 1"),
        ({"classes": ["c0"]}, "truth: expected numbers of 0 and more, below 1, found 1"),
        ({"said": [-1] * 36}, "said: expected numbers of 0 and more, below 3, found -1"),
        ({"pixels": [-5] * 36}, "pixels: expected numbers above 0, found -5"),
    ],
)
def test_confusions_that_do_not_fit_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    one = write_run(tmp_path / "a", np.ones((3, 2, 3), np.int64))
    with np.load(one / PICTURES) as held:
        arrays = {**held} | {name: np.array(value) for name, value in changes.items()}
    np.savez(one / PICTURES, **arrays)
    assert main([str(one), str(one)]) == 2
    said = capsys.readouterr().err
    assert f"{one / PICTURES}: no confusions of pictures can be read from it ({message}" in said
    assert said.count("\n") == 1


def test_confusions_that_were_cut_short_or_changed(tmp_path: Path) -> None:
    counts, _ = some_runs(20, 3, seed=7)
    path = write_run(tmp_path / "a", counts) / PICTURES
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for length in (0, 1, 4, 22, *random.integers(len(whole), size=20)):
        path.write_bytes(whole[:length])
        with pytest.raises(EvaluationError, match="no confusions of pictures"):
            read_pictures(path)
    for at in random.integers(len(whole), size=300):
        changed = bytearray(whole)
        changed[at] ^= random.integers(1, 256)
        path.write_bytes(changed)
        with contextlib.suppress(EvaluationError):  # a byte of a date, say, changes nothing
            read_pictures(path)


def test_one_array_is_no_archive_of_confusions(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.arange(3))
    with pytest.raises(EvaluationError, match="a single array, expected an archive of several"):
        read_pictures(tmp_path / "array.npy")


def test_other_ground_truth_is_an_error_of_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_run(tmp_path / "a", np.ones((3, 2, 3), np.int64))
    two = write_run(tmp_path / "b", np.full((3, 2, 3), 2))
    assert main([str(one), str(two)]) == 2
    assert "cannot be paired: picture 0" in capsys.readouterr().err


def test_other_versions_of_a_mapping_are_pointed_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [write_run(tmp_path / name, np.ones((3, 2, 3), np.int64)) for name in "ab"]
    for version, run in enumerate(runs):
        content = json.loads((run / RESULTS).read_text())
        content["mappings"] = [{"name": "hard", "version": str(version)}]
        (run / RESULTS).write_text(json.dumps(content))
    assert main([*map(str, runs), "--resamples", "10"]) == 0
    assert "the mapping hard is version '0' in A and '1' in B" in capsys.readouterr().out


@pytest.mark.parametrize("flag", [["--resamples", "0"], ["--confidence", "1"], ["--seed", "-1"]])
def test_flags_out_of_range(flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["a", "b", *flag])
    assert caught.value.code == 2
    assert flag[0] in capsys.readouterr().err


def test_a_difference_is_clear_where_its_interval_leaves_out_zero() -> None:
    def with_interval(low: float, high: float) -> Difference:
        return Difference(0.1, 0.2, low, high, 0.95, 0.5, 3, 10)

    assert [with_interval(*ends).is_clear for ends in ((0.01, 0.2), (-0.2, -0.01), (-0.1, 0.1), (0.0, 0.1))] == [
        True, True, False, False,
    ]  # fmt: skip

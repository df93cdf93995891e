"""The page of a run: its data against plain loops, in Node, and the whole of it in a real browser."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from chromium import Page, find_chromium
from hypothesis import given
from hypothesis import strategies as st
from labelled import MADE_BY, blobs, write_labels
from numpy.typing import NDArray

import labeler
from labeler.exports import Census, read_record, take_census
from labeler.labeled import LabeledImage
from labeler.photographs import Photographs
from labeler.report import CELLS, DIGITS, PICTURES_SHOWN, inert, make_report, pack_runs, shrink, write_report

SCRIPT = Path(labeler.__file__).parent / "report.js"
EVIL = "</script><img src=x onerror=\"document.title='harmed'\">"
NAMES = ["b.png", "a/deep/c.png", "a/#1 50%?.png", "é.png"]

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
needs_browser = pytest.mark.skipif(find_chromium() is None, reason="neither Chromium nor Chrome is installed")


def census_of(root: Path) -> Census:
    return take_census(root / "labels", MADE_BY)


def data_of(page: str) -> dict[str, Any]:
    """The data as a browser would find it: up to the first thing that could end the element."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script', page, re.DOTALL | re.IGNORECASE)
    assert found
    return dict(json.loads(found[1]))


def unpack(runs: str, cells: int) -> NDArray[np.uint8]:
    """The plain reading of `pack_runs`."""
    digits = [DIGITS.index(character) for character in runs]
    numbers, value, scale = [], 0, 1
    for digit in digits:
        value += digit % 32 * scale
        scale *= 32
        if digit < 32:
            numbers.append(value)
            value, scale = 0, 1
    grid = [number for number, length in zip(numbers[::2], numbers[1::2], strict=True) for _ in range(length)]
    assert len(grid) == cells
    return np.array(grid, np.uint8)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(1, 3_000)), min_size=1, max_size=20))
def test_runs_come_back(runs: list[tuple[int, int]]) -> None:
    flat = np.concatenate([np.full(length, number, np.uint8) for number, length in runs])
    np.testing.assert_array_equal(unpack(pack_runs(flat[None]), flat.size), flat)


@pytest.mark.parametrize("side", [9, 60, 300])
def test_a_shrunken_picture_has_the_segment_at_the_middle_of_each_cell(tmp_path: Path, side: int) -> None:
    labeled = write_labels(tmp_path, ["a.png"], side=side)["a.png"]
    record = read_record(tmp_path / "labels/a.json")
    assert record is not None
    grid = shrink(record)
    height, width = labeled.segments.size
    assert max(grid.shape) == min(CELLS, max(height, width))
    assert set(np.unique(grid)) == set(range(1, labeled.segments.count + 1))
    taken = 0
    for y, x in np.ndindex(grid.shape):
        middle = int((y + 0.5) * height / grid.shape[0]), int((x + 0.5) * width / grid.shape[1])
        taken += grid[y, x] != labeled.segments.label_map[middle]
    assert taken == 0


def test_a_segment_between_the_middles_is_not_lost(tmp_path: Path) -> None:
    labeled = write_labels(tmp_path, ["a.png"], side=400)["a.png"]
    label_map = labeled.segments.label_map.copy()
    label_map[0, 0] = labeled.segments.count + 1
    content = json.loads((tmp_path / "labels/a.json").read_text("utf-8"))
    from labeler.regions import regions_of
    from segmenter import Segments

    one_more = regions_of(Segments(label_map, labeled.segments.count + 1), (*labeled.labels, labeled.labels[0]))
    (tmp_path / "labels/a.json").write_text(json.dumps({**content, "segments": one_more}))
    record = read_record(tmp_path / "labels/a.json")
    assert record is not None
    assert (shrink(record) == labeled.segments.count + 1).sum() == 1


def test_the_data_says_what_the_labels_say(tmp_path: Path) -> None:
    written = write_labels(tmp_path, NAMES)
    data = data_of(make_report(census_of(tmp_path), Photographs(tmp_path / "pictures")))
    words, captions = data["words"], data["captions"]
    assert len(words) == len(set(words))
    assert len(captions) == len(set(captions))
    labels = sorted({name for labeled in written.values() for name in labeled.names})
    assert words[: len(data["colours"])] == labels
    assert [picture[0] for picture in data["pictures"]] == sorted(NAMES)
    for name, width, height, stem, original, cols, rows, runs, regions in data["pictures"]:
        labeled = written[name]
        assert (height, width) == labeled.segments.size
        for link in (f"{stem}.overlay.jpg", f"{stem}.json", original):
            assert (tmp_path / "labels" / unquote(link)).is_file(), link
        grid = unpack(runs, rows * cols).reshape(rows, cols)
        np.testing.assert_array_equal(grid, labeled.segments.label_map)  # these are smaller than the grid
        assert [words[region[1]] for region in regions] == list(labeled.names)
        for region, label, area in zip(regions, labeled.labels, labeled.segments.areas.tolist(), strict=True):
            assert region[2] == label.name.score
            assert region[3] == round(area / (height * width), 4)
            assert [(words[word], score) for word, score in region[4]] == [
                (other.label, other.score) for other in label.alternatives
            ]
            assert [(captions[text], score, data["indexes"][index], row) for text, score, index, row in region[5]] == [
                (each.caption, each.score, each.index, each.row) for each in label.evidence
            ]


def test_texts_that_look_like_html_are_inert(tmp_path: Path) -> None:
    write_labels(tmp_path, ["a.png"], words=[EVIL, "<!--", "&lt;b&gt;\u2028", "]]>"])
    page = make_report(census_of(tmp_path), Photographs(tmp_path / "<i>"))
    assert "<img" not in page
    assert "<i>" not in page
    assert page.lower().count("</script") == page.count("<script") == 2
    assert EVIL in data_of(page)["words"]
    assert json.loads(inert(EVIL)) == EVIL
    assert not re.search(r'(src|href)="?(https?:)?//', page)


def test_names_that_are_no_utf8_find_their_photograph(tmp_path: Path) -> None:
    write_labels(tmp_path, ["caf\\xe9.png"])
    folder = tmp_path / os.fsdecode(b"caf\xe9s")
    path = folder / os.fsdecode(b"caf\xe9.png")
    try:
        folder.mkdir()
        path.write_bytes((tmp_path / "pictures" / "caf\\xe9.png").read_bytes())
    except OSError:
        pytest.skip("this file system wants names to be UTF-8")
    page = write_report(census_of(tmp_path), Photographs(folder, {"caf\\xe9.png": path})).read_text("utf-8")
    assert "<title>Labels of caf\\xe9s</title>" in page
    ((name, *_, original, _, _, _, _),) = data_of(page)["pictures"]
    assert (name, original) == ("caf\\xe9.png", "../caf%E9s/caf%E9.png")


def test_the_page_is_the_same_twice_and_whole(tmp_path: Path) -> None:
    write_labels(tmp_path, NAMES)
    path = write_report(census_of(tmp_path), Photographs(tmp_path / "pictures"))
    first = path.read_bytes()
    assert write_report(census_of(tmp_path), Photographs(tmp_path / "pictures")).read_bytes() == first
    assert not list((tmp_path / "labels").rglob("*.partial"))


def many(root: Path, count: int) -> Census:
    """The labels of one picture under many names."""
    write_labels(root, ["0.png"])
    content = json.loads((root / "labels/0.json").read_text("utf-8"))
    overlay = (root / "labels/0.overlay.jpg").read_bytes()
    for number in range(count):
        content["picture"]["path"] = f"{number:05}.png"
        (root / f"labels/{number:05}.json").write_text(json.dumps(content))
        (root / f"labels/{number:05}.overlay.jpg").write_bytes(overlay)
    for name in ("0.json", "0.overlay.jpg"):
        (root / "labels" / name).unlink()
    return census_of(root)


def test_a_page_ends_where_browsers_would(tmp_path: Path) -> None:
    census = many(tmp_path, PICTURES_SHOWN + 3)
    data = data_of(make_report(census))
    assert (len(data["pictures"]), data["total"]) == (PICTURES_SHOWN, PICTURES_SHOWN + 3)


# --- in Node ---------------------------------------------------------------------------------------------------------


def in_node(program: str, *values: Any) -> Any:
    script = f"const page = require({json.dumps(str(SCRIPT))}); const values = {json.dumps(values)}; {program}"
    answer = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@needs_node
def test_the_page_reads_runs_as_they_were_packed() -> None:
    grids = [blobs(np.random.default_rng(seed), 30 + seed, 47, 40).astype(np.uint8) for seed in range(6)]
    packed = [[pack_runs(grid), grid.size] for grid in grids]
    program = "console.log(JSON.stringify(values[0].map(([runs, cells]) => [...page.decodeRuns(runs, cells)])))"
    for grid, decoded in zip(grids, in_node(program, packed), strict=True):
        np.testing.assert_array_equal(decoded, grid.ravel())


@needs_node
def test_outlines_hold_the_cells_of_their_region_and_no_others() -> None:
    """Every cell's middle lies inside the path of its own region, by the even-odd rule, and outside all others."""
    grid = blobs(np.random.default_rng(4), 20, 26, 5).astype(np.uint8) + 1
    grid[3, 4] = grid[4, 5] = grid[0, 0] = grid[19, 25] = 6  # cells that touch at corners, and at the border
    program = "console.log(JSON.stringify([1,2,3,4,5,6].map((id) => page.outline(values[0], 26, 20, id))))"
    for number, path in enumerate(in_node(program, grid.ravel().tolist()), start=1):
        loops = [
            [tuple(float(value) for value in point.split()) for point in loop.strip("ML").rstrip("Z").split("L")]
            for loop in path.split("Z")
            if loop
        ]
        inside = [[_inside(loops, x + 0.5, y + 0.501) for x in range(26)] for y in range(20)]
        np.testing.assert_array_equal(inside, grid == number)


def _inside(loops: list[list[tuple[float, ...]]], x: float, y: float) -> bool:
    crossings = 0
    for loop in loops:
        for (x0, y0), (x1, y1) in zip(loop, [*loop[1:], loop[0]], strict=True):
            if (y0 > y) != (y1 > y):
                crossings += x < x0 + (y - y0) / (y1 - y0) * (x1 - x0)
    return crossings % 2 == 1


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, dict[str, LabeledImage]]]:
    """A page of four pictures, opened from its file."""
    root = tmp_path_factory.mktemp("shown")
    written = write_labels(root, NAMES, words=["sky", "sea", "golden retriever", EVIL])
    program = find_chromium()
    assert program
    with Page(program) as page:
        page.open(write_report(census_of(root), Photographs(root / "pictures")))
        page.wait("document.querySelectorAll('.region, #grid .chips button').length > 0")
        yield page, written


def reset(page: Page) -> None:
    page.evaluate(
        """(() => { const search = document.getElementById('search'); search.value = '';
        search.dispatchEvent(new Event('input'));
        document.querySelectorAll('#labels [aria-pressed=true]').forEach((button) => button.click());
        document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'})); scrollTo(0, 0); })()"""
    )


PANEL = "document.getElementById('panel')"


@needs_browser
def test_pointing_at_a_region_tells_its_name(shown: tuple[Page, dict[str, LabeledImage]]) -> None:
    page, written = shown
    reset(page)
    page.wait("document.querySelector('#grid img').complete && document.querySelector('#grid img').naturalWidth > 0")
    name = page.evaluate("document.querySelector('#grid article').getAttribute('aria-label')")
    labeled = written[name]
    box = page.evaluate("(({x, y, width, height}) => [x, y, width, height])"
                        "(document.querySelector('#grid .frame').getBoundingClientRect())")  # fmt: skip
    height, width = labeled.segments.size
    for number, label in enumerate(labeled.labels):
        ys, xs = np.nonzero(labeled.mask(number))
        middle = np.argmin((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2)
        page.point(box[0] + (xs[middle] + 0.5) / width * box[2], box[1] + (ys[middle] + 0.5) / height * box[3])
        text = page.evaluate(f"{PANEL}.hidden ? '' : {PANEL}.innerText")
        for part in (label.name.label, "0.90", label.alternatives[0].label, label.evidence[0].caption, name):
            assert part in text
    page.point(1, 1)
    page.wait(f"{PANEL}.hidden")


@needs_browser
def test_the_keyboard_reaches_regions_and_keeps_one(shown: tuple[Page, dict[str, LabeledImage]]) -> None:
    page, written = shown
    reset(page)
    page.evaluate("document.querySelector('#grid h2 a').focus()")
    page.press("Tab", 9)
    first = next(iter(sorted(written)))
    label = written[first].labels[0]
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "false"
    assert label.evidence[0].caption in page.evaluate(f"{PANEL}.innerText")
    page.evaluate("document.activeElement.click()")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.press("Tab", 9)
    assert label.evidence[0].caption in page.evaluate(f"{PANEL}.innerText")
    page.press("Escape", 27)
    assert page.evaluate(f"{PANEL}.hidden")
    assert page.evaluate("document.querySelectorAll('#grid [aria-pressed=true]').length") == 0


@needs_browser
def test_filters_count_what_is_there(shown: tuple[Page, dict[str, LabeledImage]]) -> None:
    page, written = shown
    reset(page)
    for number in range(page.evaluate("document.querySelectorAll('#labels button').length")):
        button = f"document.querySelectorAll('#labels button')[{number}]"
        word = page.evaluate(f"{button}.childNodes[1].textContent")
        regions = sum(labeled.names.count(word) for labeled in written.values())
        pictures = sorted(name for name, labeled in written.items() if word in labeled.names)
        assert page.evaluate(f"{button}.querySelector('span').textContent") == str(regions)
        page.evaluate(f"{button}.click()")
        visible = "[...document.querySelectorAll('#grid article:not([hidden])')].map((a) => a.ariaLabel)"
        assert page.evaluate(visible) == pictures
        said = page.evaluate("document.getElementById('found').textContent")
        plural = ["" if number == 1 else "s" for number in (len(pictures), regions)]
        assert said == f"{len(pictures)} picture{plural[0]}, {regions} region{plural[1]} found"
        reset(page)


@needs_browser
def test_search_looks_at_names_files_and_captions(shown: tuple[Page, dict[str, LabeledImage]]) -> None:
    page, written = shown
    caption = written["b.png"].labels[0].evidence[0].caption
    for text, pictures in {
        "DEEP": {"a/deep/c.png"},
        "50%?": {"a/#1 50%?.png"},
        "nothing at all": set(),
        caption: {name for name, labeled in written.items() if _says(name, labeled, caption)},
    }.items():
        reset(page)
        page.evaluate(
            f"(() => {{ const search = document.getElementById('search'); search.value = {json.dumps(text)};"
            "search.dispatchEvent(new Event('input')); })()"
        )
        visible = "[...document.querySelectorAll('#grid article:not([hidden])')].map((a) => a.ariaLabel)"
        assert set(page.evaluate(visible)) == pictures


def _says(name: str, labeled: LabeledImage, text: str) -> bool:
    said = [name, *labeled.names, *(each.caption for label in labeled.labels for each in label.evidence)]
    return all(word in "\n".join(said).lower() for word in text.lower().split())


@needs_browser
def test_nothing_in_the_texts_comes_alive_and_nothing_is_amiss(shown: tuple[Page, dict[str, LabeledImage]]) -> None:
    page, written = shown
    reset(page)
    assert any(EVIL in labeled.names for labeled in written.values())
    assert page.evaluate("document.title") == "Labels of pictures"
    assert page.evaluate("document.querySelectorAll('img').length") == len(written)
    assert EVIL in page.evaluate("document.getElementById('labels').textContent")
    page.wait("[...document.querySelectorAll('img')].every((i) => { i.loading = 'eager'; return i.naturalWidth > 0; })")
    page.evaluate("document.getElementById('view').click()")
    page.wait("[...document.querySelectorAll('img')].every((i) => i.complete && i.src.includes('/pictures/'))")
    page.wait("[...document.querySelectorAll('img')].every((i) => i.naturalWidth > 0)")
    page.evaluate("document.getElementById('view').click()")
    assert page.complaints == []


@needs_browser
def test_everything_that_can_be_pressed_has_a_name(shown: tuple[Page, dict[str, LabeledImage]]) -> None:
    page, _ = shown
    page.send("Accessibility.enable")
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "searchbox", "slider", "image", "article"}
    found = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
    assert {node["role"]["value"] for node in found} == roles
    assert [node for node in found if not node.get("name", {}).get("value", "").strip()] == []
    assert page.evaluate("document.documentElement.lang") == "en"


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_schemes_and_the_switch_wins(
    shown: tuple[Page, dict[str, LabeledImage]], scheme: str
) -> None:
    page, _ = shown
    reset(page)
    page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    of = "((s) => [s.color, s.backgroundColor])(getComputedStyle(document.{}))"
    ink, paper = (_luminance(colour) for colour in page.evaluate(of.format("body")))
    assert (paper > ink) == (scheme == "light")
    assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 7
    button, raised = (_luminance(each) for each in page.evaluate(of.format("querySelector('#labels button')")))
    assert (max(button, raised) + 0.05) / (min(button, raised) + 0.05) >= 4.5
    for selector in ("#labels span", "header p", "#grid h2 a"):
        soft = _luminance(page.evaluate(of.format(f"querySelector('{selector}')"))[0])
        for ground in (paper, raised):
            assert (max(soft, ground) + 0.05) / (min(soft, ground) + 0.05) >= 4.5
    for theme in ("light", "dark", "as the system"):
        page.evaluate("document.getElementById('theme').click()")
        assert page.evaluate("document.getElementById('theme').textContent") == f"Theme: {theme}"
        ground = _luminance(page.evaluate(of.format("body"))[1])
        assert (ground > 0.5) == ((theme if theme in ("light", "dark") else scheme) == "light")


def _luminance(colour: str) -> float:
    """Of `rgb(r, g, b)`, as WCAG 2 defines it."""
    channels = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@needs_browser
def test_two_thousand_pictures_open_and_only_those_in_sight_are_loaded(tmp_path: Path) -> None:
    path = write_report(many(tmp_path, PICTURES_SHOWN))
    program = find_chromium()
    assert program
    with Page(program) as page:
        started = time.monotonic()
        page.open(path)
        page.wait("document.querySelectorAll('#grid img').length > 0")
        seconds = time.monotonic() - started
        assert page.evaluate("document.querySelectorAll('#grid article').length") == PICTURES_SHOWN
        assert page.evaluate("document.querySelectorAll('#grid img').length") < 100
        assert seconds < 20  # far above what it takes, for machines that do other work
        page.evaluate("document.querySelectorAll('#grid article')[1990].scrollIntoView()")
        page.wait("document.querySelectorAll('#grid article')[1990].querySelector('img') !== null")
        assert page.evaluate("document.querySelectorAll('#grid img').length") < 300

"""What the documentation promises: commands parse and run, so does Python, links lead somewhere."""

import json
import re
import shlex
import shutil
import tarfile
from importlib.resources import files
from pathlib import Path

import huggingface_hub.constants as constants
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from documentation import PAGES, ROOT, Reader, anchors_of, blocks_of, links_of, python_commands
from PIL import Image

from build_index.config import BuildConfig
from build_index.search import SearchConfig
from encoders import hub
from evaluation.compare import CompareConfig
from evaluation.config import EvaluationConfig
from labeler.config import LabelConfig
from labeler.demo import PHOTOGRAPHS, DemoConfig
from pocket.config import PocketConfig
from shards import commands
from shards.__main__ import ACTIONS

CONFIGS = {
    "build_index": BuildConfig,
    "build_index.search": SearchConfig,
    "evaluation": EvaluationConfig,
    "evaluation compare": CompareConfig,
    "labeler": LabelConfig,
    "labeler.demo": DemoConfig,
    "pocket": PocketConfig,
}
SIDE = 96
"""Pixels of the short side of the pictures that the pages' commands are run on."""

MOTORCYCLE = re.compile("motor|scooter", re.IGNORECASE)
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
COMMANDS = [
    pytest.param(command, id=f"{page.name}: {' '.join(command)}") for page in PAGES for command in python_commands(page)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command: list[str]) -> None:
    if command[1] != "-m":
        assert command[1] == "-c" or all(
            flag in (ROOT / command[1]).read_text("utf-8") for flag in command[2:] if flag.startswith("--")
        )
        return
    module, arguments = command[2], command[3:]
    if module == "shards":
        assert arguments[0] in ACTIONS
        return
    if arguments[:1] == ["compare"]:
        module, arguments = f"{module} compare", arguments[1:]
    commands.parse(CONFIGS[module], arguments, module)


@EACH_PAGE
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take for granted: a few small pictures, a tar of one, annotated ones, and an index."""
    folder = tmp_path_factory.mktemp("library")
    for name, photograph in (("cat", "chelsea.png"), ("street/corner", "china.jpg")):
        picture = small(photograph)
        mask = np.zeros((picture.height, picture.width), np.uint8)
        mask[picture.height // 3 :] = 1 if name == "cat" else 2
        for path, content in (
            (f"images/{name}.jpg", picture),
            (f"annotated/images/{name}.jpg", picture),
            (f"annotated/masks/{name}.png", Image.fromarray(mask)),
        ):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            content.save(folder / path)
    (folder / "annotated/classes.txt").write_text("sky\ncat\nbuilding\n")
    with tarfile.open(folder / "00000.tar", "w") as tar:
        tar.add(folder / "images/cat.jpg", "000000000.jpg")
    follow(ROOT / "docs/README.md", folder)
    shutil.rmtree(folder / "labels")
    return folder


def follow(page: Path, folder: Path) -> None:
    """Follow a page from its first block to its last."""
    reader = Reader(folder)
    for block in blocks_of(page):
        reader.follow(block)


def small(photograph: str) -> Image.Image:
    """One of the demo's photographs, scaled down."""
    package, name = next(
        (package, name) for package, names in PHOTOGRAPHS.items() for name in names if photograph in name
    )
    with Image.open(str(files(package).joinpath(name))) as opened:
        picture = opened.convert("RGB")
    scale = SIDE / min(picture.size)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)))


@EACH_PAGE
def test_a_page_can_be_followed(page: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_resolves", lambda _: False)  # no page that is run needs a hub
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    if not any(block.is_run for block in blocks_of(page)):
        pytest.skip("nothing on this page runs without a network, weights or data")
    follow(page, shutil.copytree(library, tmp_path / "here"))


def test_every_page_is_in_the_index() -> None:
    listed = set(links_of(ROOT / "docs/README.md"))
    assert {page.name for page in PAGES if page.parent.name == "docs"} - {"README.md"} <= listed


def run(command: list[str], folder: Path) -> None:
    code, printed = Reader(folder).run(shlex.join(command))
    assert code == 0, printed


def said(folder: Path) -> str:
    """Everything that the labels of a run say, from labels to evidence."""
    files = [path for path in folder.glob("*.json") if path.name != "annotations.coco.json"]
    return " ".join(json.dumps(json.loads(path.read_text("utf-8"))["segments"]) for path in files)


def test_it_can_be_taught_new_words(tmp_path: Path) -> None:
    build, append, label, remove, compact = python_commands(ROOT / "README.md", "Teach it new words")
    sentences = files("build_index").joinpath("data/demo.txt").read_text("utf-8").splitlines()
    about = [sentence for sentence in sentences if MOTORCYCLE.search(sentence)]
    mine = [sentence for sentence in sentences if not MOTORCYCLE.search(sentence)]
    pq.write_table(pa.table({"caption": mine}), tmp_path / "mine.parquet")
    pq.write_table(pa.table({"caption": about}), tmp_path / "motorcycles.parquet")
    run([*build[:2], "labeler.demo", "pictures"], tmp_path)
    run(build, tmp_path)
    run([*label, "--out", "before"], tmp_path)
    assert not MOTORCYCLE.search(said(tmp_path / "before"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "shards/mine").glob("*-0000*")}
    run(append, tmp_path)
    after = {path.name: path.read_bytes() for path in (tmp_path / "shards/mine").glob("*-0000*")}
    assert {name: after[name] for name in before} == before
    assert pq.read_table(tmp_path / "shards/mine/captions-00001.parquet")["text"].to_pylist() == about
    run(label, tmp_path)
    assert re.search('"label": "motor(cycle|bike)", "score"', said(tmp_path / "labels"))
    run(remove, tmp_path)
    run([*label, "--out", "removed"], tmp_path)
    assert not MOTORCYCLE.search(said(tmp_path / "removed"))
    run(compact, tmp_path)
    run([*label, "--out", "compacted"], tmp_path)
    assert said(tmp_path / "compacted") == said(tmp_path / "before")


def test_every_block_of_the_pages_says_what_it_is() -> None:
    for page in PAGES[1:]:
        assert all(block.language in ("sh", "python", "text", "json") for block in blocks_of(page)), page


BELIED = {
    "another exit code": "<!-- exits 1 -->\n```\npython -m labeler.demo .\n```\n",
    "a failure before the last command": "```\npython -m labeler nowhere\npython -m labeler.demo .\n```\n",
    "other output": "```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n",
    "output in another order": "```python\nprint('a\\nb')\n```\n\n```text\nb\na\n```\n",
    "output of another block": "```python\nprint(1)\n```\n\n<!-- needs it -->\n```python\nno\n```\n\n```text\n1\n```\n",
}


@pytest.mark.parametrize("text", BELIED.values(), ids=BELIED.keys())
def test_the_reader_notices(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("documentation.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(text, "utf-8")
    with pytest.raises(AssertionError, match=r"page\.md:\d+"):
        follow(page, tmp_path)

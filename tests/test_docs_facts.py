"""What the pages state and the code knows better: defaults, file names, networks."""

import json
import re
from itertools import pairwise
from pathlib import Path

import open_clip
import pytest
import timm
from documentation import PAGES, ROOT, blocks_of, python_commands

from build_index.config import CONCEPT_PROMPTS, BuildConfig
from build_index.search_index.options import EXACT_ROWS
from build_index.search_index.tuning import TARGET
from build_index.tagger_pool import WORTH_A_PROCESS
from encoders.dinov2 import _dino_file
from encoders.presets import CLIP_TRUNK, PRESETS, PresetName
from encoders.weights import ClipSource, _clip_files
from evaluation.config import EvaluationConfig
from labeler.config import LabelConfig, LabelerConfig

EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@EACH_PAGE
def test_what_is_said_to_be_json_is(page: Path) -> None:
    for block in blocks_of(page):
        for line in block.text.splitlines() if block.language == "json" else []:
            assert isinstance(json.loads(line), dict)


@EACH_PAGE
def test_defaults_are_those_of_the_code(page: Path) -> None:
    """Rows of a table of settings, and `--flag` with a number behind it."""
    text = page.read_text("utf-8")
    said = re.findall(r"^\| `--([\w-]+)` \| ([\d.]+|off) \|", text, re.MULTILINE)
    said += re.findall(r"`--([\w-]+)` ([\d.]*\d)", text) if page.name == "how-it-works.md" else []
    for flag, default in said:
        name = flag.replace("-", "_")
        actual = LabelerConfig().wording.captions if flag == "neighbours" else getattr(LabelerConfig(), name)
        assert actual == (False if default == "off" else float(default)), flag


def test_every_setting_of_the_score_is_explained() -> None:
    text = (ROOT / "docs/how-it-works.md").read_text("utf-8")
    for name in vars(LabelerConfig().wording).keys() - {"naming"}:
        assert f"`--{name.replace('_', '-')}` | " in text, name


def test_every_flag_is_in_the_documentation() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    for config in (BuildConfig, LabelConfig, EvaluationConfig):
        names = [f"--{name.replace('_', '-')}" for name in config.__dataclass_fields__]
        positional = {"--pictures"}
        missing = [each for each in names if not re.search(rf"{each}\b|--no-{each[2:]}\b", text)]
        assert set(missing) <= positional, config.__name__


def test_the_builders_numbers_are_those_of_the_code() -> None:
    text = (ROOT / "docs/big-corpora.md").read_text("utf-8")
    build = BuildConfig(corpus=("demo",))
    assert f"`--rows-per-part` ({build.rows_per_part:,})" in text
    assert f"`--exact-rows` ({EXACT_ROWS:,})" in text
    assert f"once a part has {WORTH_A_PROCESS:,} captions" in text
    assert f"{TARGET:.0%}".replace("%", " %") in text
    for template in CONCEPT_PROMPTS:
        assert f"`{template}`" in (ROOT / "docs/teach-it-new-words.md").read_text("utf-8")


def test_the_weights_to_carry_are_those_that_are_loaded() -> None:
    text = (ROOT / "docs/air-gapped.md").read_text("utf-8")
    for name in (PresetName.DEFAULT, PresetName.TAG):
        for path in (_clip_files(ClipSource.parse(PRESETS[name].clip)), _dino_file(PRESETS[name].dino)):
            repository, _, file = path.rpartition("/")
            assert f"`{repository}` | `{file}` |" in text
    assert PRESETS[PresetName.POCKET].dino == CLIP_TRUNK  # which has no file of its own


def test_the_networks_that_are_named_exist() -> None:
    found = [pairwise(command) for page in PAGES for command in python_commands(page)]
    named = [pair for pairs in found for pair in pairs]
    clips = {name for flag, name in named if flag == "--clip" and ":" not in name}
    dinos = {name for flag, name in named if flag == "--dino" and name != CLIP_TRUNK}
    assert clips
    assert all(open_clip.get_pretrained_cfg(*name.split("/")) for name in clips), clips
    assert dinos
    assert dinos <= set(timm.list_pretrained()), dinos

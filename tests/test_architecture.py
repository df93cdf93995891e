"""Who may import whom, where the heavy libraries live, and what goes into the wheel."""

import ast
import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import build_index
import encoders
import evaluation
import labeler
import segmenter
import shards
from shards.manifest import PROGRAM

ROOT = Path(shards.__file__).parents[1]

MAY_IMPORT = {
    "shards": set(),
    "encoders": {"shards"},
    "segmenter": {"shards"},
    "pocket": {"shards", "encoders", "build_index"},
    "build_index": {"shards", "encoders"},
    "labeler": {"shards", "encoders", "segmenter", "build_index"},
    "evaluation": {"shards", "encoders", "segmenter", "build_index", "labeler"},
}
"""The rooms, and into which others each one looks."""

COMMANDS_MAY_IMPORT = {("shards", "__main__.py"): {"build_index"}}
"""`python -m shards compact` needs a search index built, which the format's own room cannot do."""

POCKET_WEIGHTS = "encoders/pocket/open_clip_model.safetensors"
"""The only weights that a wheel may hold."""

NETWORKS = {"encoders", "pocket"}
SEARCH = {"build_index"}
ONLY_IN = {"torch": NETWORKS, "open_clip": NETWORKS, "timm": NETWORKS, "tflite": {"pocket"}}
ONLY_IN |= {"faiss": SEARCH, "numba": SEARCH | {"encoders", "segmenter"}, "llvmlite": SEARCH | {"encoders"}}
"""Libraries that few rooms keep to themselves: what runs networks, what trains one, what searches, what compiles."""


def imports(path: Path) -> Iterator[str]:
    """Top-level names of everything that a file imports, at its head or inside a function."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            yield str(node.module).split(".")[0]


def sources(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_import_edges(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    for path in sources(package):
        ours = (set(imports(path)) & set(MAY_IMPORT)) - COMMANDS_MAY_IMPORT.get((package, path.name), set())
        assert ours <= allowed, f"{path.name} imports {ours - allowed}"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_heavy_libraries_stay_in_their_room(package: str) -> None:
    for path in sources(package):
        found = {name for name in imports(path) if package not in ONLY_IN.get(name, {package})}
        assert not found, f"{path.name} imports {found}"


def test_this_file_knows_every_package() -> None:
    with_init = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert with_init - {"tests"} == set(MAY_IMPORT)


def test_nothing_imports_tests_or_benchmarks() -> None:
    for package in MAY_IMPORT:
        for path in sources(package):
            assert {"tests", "conftest", "benchmarks", "pytest"}.isdisjoint(imports(path)), path


def test_the_room_whose_name_data_folders_share_has_no_code_below() -> None:
    assert not list((ROOT / "shards").glob("*/__init__.py"))


@pytest.mark.parametrize("package", [shards, encoders, segmenter, build_index, labeler, evaluation])
def test_public_names_are_listed_once_in_order_and_exist(package: object) -> None:
    names = getattr(package, "__all__", [])
    assert list(names) == sorted(set(names))
    assert [name for name in names if not hasattr(package, name)] == []
    assert (package.__doc__ or "").strip()


# --- the wheel -------------------------------------------------------------------------------------------------------


def test_the_build_is_told_which_folders_are_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["build-system"]["build-backend"] == "hatchling.build"
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(MAY_IMPORT)
    assert "/shards/*/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()  # hatchling leaves out what git does


@pytest.fixture
def copy_with_data(tmp_path: Path) -> Path:
    """The project as in a checkout in which an index was built and pictures were labelled."""
    root = tmp_path / "checkout"
    for package in [*MAY_IMPORT, "tests"]:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__", "data"))
    shutil.copytree(ROOT / "build_index/data", root / "build_index/data")
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, root / name)
    for name in ("shards/cc3m/manifest.json", "shards/cc3m/vectors-00000.npy", "labels/a.json", POCKET_WEIGHTS):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("data")
    return root


def test_the_wheel_holds_the_packages_and_no_data(copy_with_data: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="the build backend, hatchling, is not installed")
    builder = wheel.WheelBuilder(str(copy_with_data))
    packed = {Path(file.distribution_path).as_posix() for file in builder.recurse_included_files()}
    assert {name.split("/")[0] for name in packed} == set(MAY_IMPORT)
    code = {path.relative_to(ROOT).as_posix() for package in MAY_IMPORT for path in sources(package)}
    assert code <= packed
    assert {
        "shards/FORMAT.md",
        "labeler/schema.json",
        "labeler/report.html",
        "labeler/report.css",
        "labeler/report.js",
        "labeler/font/DejaVuSans.ttf",
        "labeler/font/LICENSE.txt",
        "build_index/data/demo.txt",
        "evaluation/class_lists/voc20.txt",
    } <= packed
    assert {"encoders/pocket/open_clip_config.json", "encoders/pocket/MODEL_CARD.md", POCKET_WEIGHTS} <= packed
    assert not [name for name in packed if name.startswith("shards/cc3m")]
    assert {Path(name).suffix for name in packed - code - {POCKET_WEIGHTS}} <= {
        ".md",
        ".json",
        ".txt",
        ".html",
        ".css",
        ".js",
        ".ttf",
        ".typed",
    }


def test_a_folder_of_data_named_shards_does_not_hide_the_package(tmp_path: Path) -> None:
    try:
        importlib.metadata.distribution("guidance-free-labeler")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the project is not installed, only on the path")
    (tmp_path / "shards" / "cc3m").mkdir(parents=True)
    (tmp_path / "shards" / "cc3m" / "manifest.json").write_text("{}")
    program = "import shards; print(shards.__file__, shards.open_indexes.__name__)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert answer.stdout.split() == [str(ROOT / "shards" / "__init__.py"), "open_indexes"]


def test_outputs_name_the_version_that_is_packed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"{project['name']} {project['version']}" == PROGRAM

"""What compiled kernels write to is theirs until they are done."""

import ast
from pathlib import Path

import pytest

import encoders

FILES = sorted(Path(encoders.__file__).parent.glob("*.py"))


def kernels(path: Path) -> list[ast.FunctionDef]:
    functions = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)]
    return [
        each for each in functions if any(isinstance(it, ast.Name) and it.id == "kernel" for it in each.decorator_list)
    ]


def arrays(function: ast.FunctionDef) -> set[str]:
    """The names that are given an array, alone or in a row of names."""
    made = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                row = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                pairs = zip(target.elts, node.value.elts, strict=True) if row else [(target, node.value)]
                made |= {name.id for name, value in pairs if ast.unparse(value).startswith(("np.empty", "np.zeros"))}
    return made


def test_there_are_kernels_with_arrays() -> None:
    found = {path.name: sorted(arrays(each)) for path in FILES for each in kernels(path) if arrays(each)}
    assert found == {"panel_products.py": ["room"], "path_attention.py": ["room"], "tile_products.py": ["room"]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_arrays_are_kept_to_the_end_of_a_kernel(path: Path) -> None:
    """Numba frees an array behind the last line that names it; the threads of another library may get its memory."""
    for each in kernels(path):
        wanted = arrays(each)
        last = [ast.unparse(statement) for statement in each.body[len(each.body) - len(wanted) :]]
        assert sorted(last) == sorted(f"keep({name})" for name in wanted)
        leaves = any(isinstance(node, ast.Return) for node in ast.walk(each))
        assert not (wanted and leaves), f"{each.name} has to reach its end"

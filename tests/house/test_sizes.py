"""What keeps the house readable: small files, small functions, documented public names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("lab", "faults", "experiments", "compose")
FILES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))
FILE_LINES_MAX = 330
FUNCTION_LINES_MAX = 70
Function = ast.FunctionDef | ast.AsyncFunctionDef


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_stays_small_enough_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


@pytest.mark.parametrize(
    "path", [p for p in FILES if not p.is_relative_to(ROOT / "compose")], ids=name
)
def test_every_public_name_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if tree.body:
        assert ast.get_docstring(tree), "the module has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            if path.parent.name == "cli" or isinstance(getattr(node, "parent", None), Function):
                continue
            assert ast.get_docstring(node) or _nested(tree, node), f"{node.name} has no docstring"


def _nested(tree: ast.Module, wanted: ast.AST) -> bool:
    """Whether a definition stands inside a function: those are nobody's public name."""
    functions = (n for n in ast.walk(tree) if isinstance(n, Function))
    return any(wanted is inner for f in functions for inner in ast.walk(f) if inner is not f)

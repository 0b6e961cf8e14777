"""The direction of imports, and what each room may know."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(p for room in ("lab", "faults", "experiments") for p in (ROOT / room).rglob("*.py"))
VERIFIERS_MAY = {
    "lab.actions",
    "lab.canary",
    "lab.errors",
    "lab.history",
    "lab.journal",
    "lab.resources",
    "lab.seeds",
    "lab.stats",
    "lab.verdict",
    "lab.verifiers",
}
PRINTERS = ("lab/cli/", "lab/report/")


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in the file, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roots(path: Path) -> set[str]:
    """The top-level packages a file imports."""
    return {name.split(".")[0] for name in imports(path)}


def files(room: str) -> list[Path]:
    """The Python files under a folder."""
    found = [path for path in FILES if path.is_relative_to(ROOT / room)]
    assert found, f"no files in {room}: this test would pass on nothing"
    return found


@pytest.mark.parametrize("path", files("lab"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_lab_knows_no_fault_and_no_experiment(path: Path) -> None:
    assert not roots(path) & {"faults", "experiments", "compose", "tests"}


@pytest.mark.parametrize("path", files("faults"), ids=lambda p: p.name)
def test_faults_import_no_experiment(path: Path) -> None:
    assert not roots(path) & {"experiments", "compose", "tests"}


@pytest.mark.parametrize("path", files("lab/verifiers"), ids=lambda p: p.name)
def test_verifiers_read_histories_and_nothing_else(path: Path) -> None:
    of_lab = {name for name in imports(path) if name.startswith("lab.")}
    strangers = {
        n for n in of_lab if not any(n == ok or n.startswith(ok + ".") for ok in VERIFIERS_MAY)
    }
    assert not strangers


def test_only_the_stack_imports_testcontainers() -> None:
    users = {p.relative_to(ROOT).as_posix() for p in FILES if "testcontainers" in roots(p)}
    assert users
    assert all(user.startswith("lab/stack") for user in users)


def test_only_cli_and_report_print() -> None:
    def prints(path: Path) -> bool:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = (n.func for n in ast.walk(tree) if isinstance(n, ast.Call))
        return any(isinstance(f, ast.Name) and f.id == "print" for f in calls)

    printers = {p.relative_to(ROOT).as_posix() for p in FILES if prints(p)}
    assert any(p.startswith("lab/cli/") for p in printers)
    assert all(p.startswith(PRINTERS) for p in printers)


def test_no_system_under_test_is_named_outside_compose() -> None:
    names = {path.parent.name for path in (ROOT / "compose").glob("*/stack.yaml")}
    assert len(names) >= 2
    for path in FILES:
        words = set(path.read_text(encoding="utf-8").replace("/", " ").replace('"', " ").split())
        assert not words & names, f"{path.name} names a system"


def test_the_check_itself_sees_a_planted_import(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n    from faults.network import Latency\n")
    assert "faults" in roots(planted)

"""What is wrong in a folder is told before anything is started."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from lab.conformance.bench import Finding
from lab.conformance.examine import examine, exit_code
from lab.errors import ExitCode

STACK = """
services:
  app: {image: python:3.11-slim-bookworm}
x-lab:
  entrances:
    client: {to: "%s:8000"}
"""


def unsaid(_: str) -> None:
    """Progress is for people."""


def examined(folder: Path, stack: str, driver: str) -> tuple[Finding, ...]:
    (folder / "stack.yaml").write_text(stack)
    (folder / "driver.py").write_text(driver)
    told: list[Finding] = []
    found = anyio.run(examine, folder, "", unsaid, told.append)
    assert tuple(told) == found
    return found


@pytest.mark.parametrize(
    ("entrance", "driver", "check", "detail"),
    [
        ("web", "", "stack.yaml can be read", "names the unknown service `web`"),
        ("app", "import nothing_such", "the driver can be loaded", "No module named"),
        ("app", "x = 1", "the driver can be loaded", "defines no `driver`"),
    ],
)
def test_a_file_that_cannot_be_used_ends_the_check_with_a_usage_error(
    tmp_path: Path, entrance: str, driver: str, check: str, detail: str
) -> None:
    last = examined(tmp_path, STACK % entrance, driver)[-1]
    assert (last.check, last.status) == (check, "bad")
    assert detail in last.detail
    assert exit_code((last,)) is ExitCode.USAGE


def test_a_finding_is_one_line_and_what_mends_it_another() -> None:
    assert str(Finding("a rule", "ok", "seen", "mend it")) == "ok      a rule: seen"
    assert str(Finding("a rule", "bad", "why", "mend it")).splitlines() == [
        "BAD     a rule: why",
        "          -> mend it",
    ]

"""The command line: one clear line and the right exit code for every bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lab(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the lab as a person does, in its own process."""
    return subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=ROOT,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "noisy_neighbour"), "noisy_neighbor"),
        (("run", "noisy_neighbor", "--profile", "quik"), "quick"),
        (("run", "noisy_neighbor", "--system", "compose/nowhere"), "compose/"),
        (("run", "noisy_neighbor", "--defect", "sharedpool"), "shared_pool"),
        (("run", "noisy_neighbor", "--mode", "vm"), "process"),
        (("run", "noisy_neighbor", "--tenants", "-3"), "at least"),
        (("run", "noisy_neighbor", "--tenants", "1"), "at least 2"),
        (("run", "noisy_neighbor", "--tenants", "many"), "--tenants"),
        (("run", "tenant_crash", "--system", "compose/minimal"), "ability agents"),
        (("run", "noisy_neighbor", "--nonsense"), "--nonsense"),
        (("nonsense",), "nonsense"),
        (("inject", "latencie", "--link", "redis", "--for", "1"), "latency"),
        (("inject", "latency", "--link", "redis", "--set", "delay=5", "--for", "1"), "delay_ms"),
        (("inject", "latency", "--link", "redis", "--delay", "5", "--for", "1"), "delay_ms"),
        (
            ("inject", "latency", "--link", "redis", "--delay-ms", "--for", "1s"),
            "--delay-ms needs a value",
        ),
        (("inject", "latency", "--link", "redis", "--for", "1s"), "--delay-ms VALUE"),
        (("inject", "down", "--link", "redis", "--for", "-1"), "--for"),
        (("inject", "down", "--link", "redis", "--for", "30min"), "30s or 2m"),
        (("inject", "down", "--link", "redis"), "--for"),
    ],
)
def test_bad_input_is_exit_2_and_says_what_to_do(arguments: tuple[str, ...], says: str) -> None:
    done = lab(*arguments)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "value"), [("LAB_TRANSPORT", "pigeon"), ("LAB_WORKERS", "many")])
def test_a_bad_word_in_the_environment_is_exit_2_before_anything_is_started(
    name: str, value: str
) -> None:
    nowhere = "unix:///nonexistent/engine.sock"
    done = lab("run", "partition", DOCKER_HOST=nowhere, **{name: value})
    assert done.returncode == 2, done.stderr
    assert name in done.stderr
    assert value in done.stderr


def test_an_engine_that_is_not_there_is_exit_4_and_one_line() -> None:
    done = lab("run", "partition", DOCKER_HOST="unix:///nonexistent/engine.sock")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("lab: ")]) == 1


def test_judging_what_is_not_there_is_exit_4_and_one_line() -> None:
    done = lab("judge", "no-such-run")
    assert done.returncode == 4
    assert "no journal" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["experiments", "faults", "defects"])
def test_lists_come_as_json_too(command: str) -> None:
    rows = json.loads(lab(command, "--json").stdout)
    assert rows
    assert all(row["name"] and row["summary"] for row in rows)


def test_the_faults_are_listed_with_ranges_and_units() -> None:
    rows = {row["name"]: row for row in json.loads(lab("faults", "--json").stdout)}
    delay = next(p for p in rows["latency"]["parameters"] if p["name"] == "delay_ms")
    assert (delay["values"], delay["unit"]) == ("1 to 60000", "milliseconds")
    assert rows["latency"]["covers_open_connections"] is True
    assert rows["dns_failure"]["covers_open_connections"] is False


def test_help_does_not_load_the_heavy_parts() -> None:
    code = "import sys, lab.cli; print(sorted({'docker', 'numpy', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        timeout=50,
    )
    assert done.stdout.strip() == "[]"

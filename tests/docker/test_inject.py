"""`lab inject` holds a fault on a kept stack, journals it, and heals it on time or on a signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import anyio
import pytest

from lab.journal import Created, Healed, Injected, Injecting, Removed, read
from lab.stack.attached import attached
from tests.docker.standing import ROOT, SMALLEST

pytestmark = pytest.mark.docker
DELAY = ("latency", "--link", "redis", "--set", "delay_ms=100")


@dataclass(frozen=True)
class Person:
    """Somebody in front of a terminal, with a kept stack of their own."""

    folder: Path
    run: str = ""

    def types(self, *words: str) -> subprocess.Popen[str]:
        """Start a command of the lab."""
        return subprocess.Popen(
            [sys.executable, "-m", "lab", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def done(self, *words: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a command."""
        with self.types(*words) as command:
            output, errors = command.communicate(timeout=50)
        return command.returncode, output, errors

    def inject(self, words: Sequence[str], seconds: str) -> tuple[int, str, str]:
        """Hold a fault on this person's stack."""
        return self.done("inject", *words, "--for", seconds, "--run", self.run)


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Generator[Person]:
    folder = tmp_path_factory.mktemp("inject")
    code, output, errors = Person(folder).done("up", "--system", str(SMALLEST))
    assert code == 0, errors
    one = Person(folder, next(line.split()[1] for line in output.splitlines() if "run" in line))
    yield one
    code, _, errors = one.done("down", one.run)
    assert code == 0, errors


def toxics(run: str) -> tuple[str, ...]:
    """Every toxic on the stack right now."""

    async def look() -> tuple[str, ...]:
        async with attached(run) as stack:
            return tuple(t for names in (await stack.links.toxics()).values() for t in names)

    return anyio.run(look)


def test_a_fault_is_held_for_its_time_and_journalled(person: Person) -> None:
    code, _, errors = person.inject(DELAY, "0.2")
    assert code == 0, errors
    assert "latency on link redis (delay_ms=" in errors
    events = read(person.folder / "runs" / person.run)[-3:]
    assert [type(event) for event in events] == [Injecting, Injected, Healed]
    assert toxics(person.run) == ()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_heals_at_once_and_leaves_the_stack_up(
    person: Person, number: signal.Signals, code: int
) -> None:
    with person.types("inject", *DELAY, "--for", "40", "--run", person.run) as command:
        assert command.stderr
        assert "in place" in command.stderr.readline()
        assert [name.partition("-")[0] for name in toxics(person.run)] == ["latency"]
        command.send_signal(number)
        assert "left up" in command.communicate(timeout=20)[1]
    assert command.returncode == code
    assert toxics(person.run) == ()


FLOOD = ("flood", "--tenant", "noisy", "--per-second", "20", "--action", "write")


def guests(person: Person) -> list[str]:
    """What the journal tells of tenants that were made for faults, `+` and `-`, in order."""
    events = read(person.folder / "runs" / person.run)
    told = {Created: "+", Removed: "-"}
    return [f"{told[type(e)]}{e.name}" for e in events if isinstance(e, Created | Removed)]


def test_a_fault_by_clients_brings_its_tenant_and_takes_it_away(person: Person) -> None:
    known = len(guests(person))
    code, _, errors = person.inject(FLOOD, "0.5")
    assert code == 0, errors
    assert "noisy: a tenant made for this" in errors
    came, went = guests(person)[known:]
    assert came[1:] == went[1:]
    assert came.endswith("-noisy")
    assert (came[0], went[0]) == ("+", "-")


def test_a_tenant_that_a_killed_command_made_is_removed_by_the_healer(person: Person) -> None:
    known = len(guests(person))
    with person.types("inject", *FLOOD, "--for", "40", "--run", person.run) as command:
        assert command.stderr
        while "in place" not in command.stderr.readline():
            assert command.poll() is None
        assert len(guests(person)) == known + 1
        command.kill()
    until = monotonic() + 20
    while len(guests(person)) < known + 2 and monotonic() < until:
        sleep(0.05)
    assert [name[0] for name in guests(person)[known:]] == ["+", "-"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("down", "--link", "reddis"), "did you mean redis"),
        (("kill", "--service", "postgres"), "there is no service"),
        (("kill", "--service", "toxiproxy"), "there is no service"),
    ],
)
def test_a_target_that_is_not_there_is_exit_2_and_nothing_is_injected(
    person: Person, words: tuple[str, ...], says: str
) -> None:
    before = read(person.folder / "runs" / person.run)
    code, _, errors = person.inject(words, "1")
    assert (code, says in errors) == (2, True), errors
    assert "Traceback" not in errors
    assert read(person.folder / "runs" / person.run) == before

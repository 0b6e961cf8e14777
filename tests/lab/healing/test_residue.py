"""What is not as it was before is named; what is, is silent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from lab.engine import audit
from lab.errors import LabError
from lab.healing import residue
from lab.system import Census
from tests.fakes.stack import FakeLinks, fake_lab


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {}, ()),
        ({"toxic": ("a",)}, {"toxic": ("a",)}, ()),
        ({}, {"toxic": ("a", "b"), "file": ("f",)}, ("file f", "toxic a", "toxic b")),
        ({"toxic": ("a",)}, {}, ("toxic a is gone",)),
        ({"toxic": ("a",)}, {"toxic": ("b",)}, ("toxic b", "toxic a is gone")),
    ],
)
def test_a_difference_is_named_by_kind_and_name(
    before: Census, after: Census, told: tuple[str, ...]
) -> None:
    assert residue.difference(before, after) == told


@dataclass
class TellingLinks(FakeLinks):
    """Links that offer a census."""

    told: list[Census] = field(default_factory=list[Census])

    async def residue(self) -> Census:
        """The next of what a test has prepared, the last one for ever."""
        return self.told.pop(0) if len(self.told) > 1 else self.told[0]


def test_hands_that_offer_a_census_are_asked_and_others_are_not() -> None:
    lab, _, _ = fake_lab()
    telling = replace(lab, links=TellingLinks(told=[{"toxic": ("x",), "proxy": ()}]))
    assert anyio.run(residue.of_hands, telling) == {"toxic": ("x",)}


class Veiled(TellingLinks):
    """Links that cannot be looked at while nothing is left to tell."""

    async def residue(self) -> Census:
        """Nothing to see at first; or ever."""
        if len(self.told) != 1:
            self.told = self.told[1:]
            raise LabError("its processes cannot be read")
        return await super().residue()


def test_what_cannot_be_looked_at_yet_is_waited_for_and_is_never_calm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab, _, _ = fake_lab()
    calm: Census = {}
    soon = replace(lab, links=Veiled(told=[calm, calm, calm]))
    assert anyio.run(residue.settled, soon, calm) == calm
    monkeypatch.setattr(residue, "SETTLE_SECONDS", 0.2)
    with pytest.raises(LabError, match="cannot be read"):
        anyio.run(residue.settled, replace(lab, links=Veiled(told=[])), calm)


def test_what_is_given_back_late_is_waited_for() -> None:
    lab, _, _ = fake_lab()
    links = TellingLinks(told=[{"toxic": ("x",)}, {"toxic": ("x",)}, {}])
    calm: Census = {}
    assert anyio.run(residue.settled, replace(lab, links=links), calm) == calm


def test_a_child_a_socket_and_a_file_of_the_run_are_found_on_this_host() -> None:
    probes = {k: v for k, v in residue.PROBES.items() if k != "engine"}
    before = {kind: probe("drill-1") for kind, probe in probes.items()}
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child,
        tempfile.NamedTemporaryFile(prefix="of-drill-1-") as file,
    ):
        after = {kind: probe("drill-1") for kind, probe in probes.items()}
        told = residue.difference(before, after)
        child.communicate(b"\n")
        assert any(line.startswith(f"process {child.pid}:") for line in told)
        assert f"listens at 127.0.0.1:{server.getsockname()[1]}" in told
        assert f"file {Path(file.name).name}" in told
    assert {kind: probe("drill-1") for kind, probe in probes.items()} == before


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("127.0.0.1", True),
        ("127.8.0.9", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_only_this_machine_reaches_a_loopback_address(address: str, inside: bool) -> None:
    assert audit.is_loopback(address) is inside


def test_a_port_that_others_can_reach_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def ports(run: str) -> tuple[tuple[str, str], ...]:
        return ((f"container {run}-app", "127.0.0.1:8000"), (f"container {run}-db", "0.0.0.0:5432"))

    monkeypatch.setattr(audit, "published", ports)
    with pytest.raises(LabError, match=r"r-db can be reached from other machines at 0.0.0.0:5432"):
        audit.stays_inside("r")


def test_a_listening_socket_of_this_process_is_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_ports(_: str) -> tuple[tuple[str, str], ...]:
        return ()

    monkeypatch.setattr(audit, "published", no_ports)
    audit.stays_inside("r")
    with (
        socket.create_server(("0.0.0.0", 0)),
        pytest.raises(LabError, match=f"process {os.getpid()} can be reached"),
    ):
        audit.stays_inside("r")

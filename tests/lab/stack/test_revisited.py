"""The way in to a stack that somebody else stood up, from its label and its containers alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.stack.file import load
from lab.stack.layout import Layout
from lab.stack.plan import EDGE, Proxy
from lab.stack.revisited import variables_of, visit
from lab.system import Endpoint
from tests.stackfiles import folder

STACK = """\
services:
  app:
    image: app:1
    environment: {KEY: "${KEY}", MIXED: "postgres://${USER}@db", PLAIN: "x", MODE: "${LAB_MODE}"}
  agent:
    image: agent:1
x-lab:
  variables: [KEY, USER]
  entrances:
    client: {to: "app:80", per_cohort: true}
    admin: {to: "app:81"}
  observers: {app: "app:82"}
  modes: [shared, container]
  variants:
    container:
      x-lab: {per_tenant: agent}
"""
PROXIES = (
    Proxy("client@tenant", EDGE, 20000, "app-origin:80"),
    Proxy("admin", EDGE, 20001, "app-origin:81"),
    Proxy("observer@app", EDGE, 20002, "app-origin:82"),
    Proxy("redis@app", "app", 6379, "redis-origin:6379"),
)


def test_every_way_in_has_its_port_of_now_and_every_whole_variable_its_value(
    tmp_path: Path,
) -> None:
    layout = Layout(proxies=PROXIES, folder=str(folder(tmp_path, STACK)), mode="shared")
    ports = {20000: 1, 20001: 2, 20002: 3, 8474: 4}
    found = visit(layout, ports, {"app": {"KEY": "secret", "MODE": "shared", "MIXED": "?"}})
    assert found.site.entrances == {
        ("client", "tenant"): Endpoint("127.0.0.1", 1),
        ("admin", ""): Endpoint("127.0.0.1", 2),
    }
    assert found.site.observers == {"app": Endpoint("127.0.0.1", 3)}
    assert found.site.variables == {"KEY": "secret", "LAB_MODE": "shared"}
    assert (found.path.name, found.site.mode) == ("driver.py", "shared")


def test_a_variable_inside_other_text_or_of_a_missing_container_is_not_guessed(
    tmp_path: Path,
) -> None:
    system = load(folder(tmp_path, STACK))
    assert variables_of(system, {"app": {"MIXED": "postgres://me@db"}}) == {}
    assert variables_of(system, {}) == {}


def test_tenants_that_need_containers_of_their_own_are_refused(tmp_path: Path) -> None:
    layout = Layout(proxies=PROXIES, folder=str(folder(tmp_path, STACK)), mode="container")
    with pytest.raises(UsageError, match="a container of its own"):
        visit(layout, {}, {})

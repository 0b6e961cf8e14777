"""Which engine is used, which is refused, and what a person is told when none answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.engine import machine as engine
from lab.engine.hostlock import try_lock
from lab.engine.machine import DEFAULT_ENDPOINT, ask, ensure, find_endpoint, is_local, refuse_remote
from lab.errors import ExitCode, LabError, UsageError


def silent(_: str) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("endpoint", ["unix:///var/run/docker.sock", "unix:///tmp/x", "npipe://x"])
def test_a_socket_of_this_machine_is_local(endpoint: str) -> None:
    assert is_local(endpoint)
    refuse_remote(endpoint, {})


@pytest.mark.parametrize(
    "endpoint", ["tcp://10.0.0.1:2375", "ssh://root@elsewhere", "tcp://127.0.0.1:1"]
)
def test_a_remote_engine_is_refused_unless_it_is_named(endpoint: str) -> None:
    with pytest.raises(UsageError, match="remote engine") as refused:
        refuse_remote(endpoint, {"LAB_ALLOW_REMOTE_ENGINE": "tcp://another:2375"})
    assert endpoint in str(refused.value)
    assert "\n" not in str(refused.value)
    refuse_remote(endpoint, {"LAB_ALLOW_REMOTE_ENGINE": endpoint})


def test_docker_host_goes_before_everything_else() -> None:
    environment = {"DOCKER_HOST": "unix:///a/socket", "DOCKER_CONTEXT": "default"}
    assert find_endpoint(environment) == ("unix:///a/socket", "DOCKER_HOST")


def test_the_default_endpoint_is_used_when_nobody_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert find_endpoint({}) == (DEFAULT_ENDPOINT, "")


def test_an_endpoint_where_nothing_listens_gives_no_engine(tmp_path: Path) -> None:
    assert ask(f"unix://{tmp_path}/no.sock") is None


def test_a_chosen_engine_that_is_silent_is_a_failure_of_the_lab_and_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(LabError, match="no container engine answers") as failed:
        ensure(silent)
    assert failed.value.exit_code is ExitCode.LAB_FAILED
    assert "unset DOCKER_HOST" in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_remote_engine_in_the_environment_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    with pytest.raises(UsageError, match="remote engine"):
        ensure(silent)


def test_the_doctor_tells_of_a_silent_engine_and_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    checks = {check.name: check for check in engine.diagnose()}
    assert not checks["engine"].ok
    assert checks["engine"].mend
    assert {"cores", "memory", "disk", "python"} <= checks.keys()
    assert all("\n" not in check.detail + check.mend for check in checks.values())


def test_a_lock_has_one_holder_at_a_time(tmp_path: Path) -> None:
    first = try_lock("x", tmp_path)
    assert first is not None
    with first:
        assert try_lock("x", tmp_path) is None
    again = try_lock("x", tmp_path)
    assert again is not None
    again.close()

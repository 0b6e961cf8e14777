"""Images for real: made once, made again when they change, and nothing left when that fails."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import anyio
import pytest

from lab.errors import LabError
from lab.images import ensure as images
from lab.images import recipes
from lab.images.build import TEMPORARY
from lab.images.ensure import ImageNeed

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
FROM = "FROM redis:7.0.15-bookworm\n"


def docker(*command: str) -> str:
    done = subprocess.run(["docker", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = monotonic() + seconds
    while not true():
        assert monotonic() < deadline, "it did not become true in time"
        sleep(0.05)


@pytest.fixture
def need(tmp_path: Path) -> Iterator[ImageNeed]:
    """A build folder of this test's own; its image is removed afterwards."""
    tag = f"crosstalk/test-{secrets.token_hex(4)}:1"
    yield ImageNeed(tag, tmp_path)
    if docker("images", "-q", tag):
        docker("rmi", "-f", tag)


def ensure(*needs: ImageNeed) -> tuple[dict[str, str], list[str]]:
    said: list[str] = []
    found = anyio.run(images.ensure, needs, said.append)
    return dict(found), said


def build(need: ImageNeed, dockerfile: str) -> tuple[str, list[str]]:
    assert need.build is not None
    (need.build / "Dockerfile").write_text(dockerfile)
    found, said = ensure(need)
    return found[need.tag], said


def sleepers(mark: str) -> str:
    """The containers, running or not, whose command has this mark in it."""
    every = docker("ps", "-a", "--no-trunc", "--format", "{{.Command}}").splitlines()
    return "\n".join(command for command in every if mark in command)


def temporary() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*")}


def test_the_labs_images_are_found_at_once_the_second_time() -> None:
    needs = [ImageNeed(tag) for tag in recipes.own() if tag != "crosstalk/base:local"]
    first, _ = ensure(*needs)
    began = monotonic()
    second, said = ensure(*needs)
    assert monotonic() - began < 0.3
    assert second == first
    assert said == []


def test_a_changed_folder_is_built_again_and_an_unchanged_one_is_not(need: ImageNeed) -> None:
    first, said = build(need, FROM + "RUN echo 1 > /tmp/x\n")
    assert len(said) == 2
    assert build(need, FROM + "RUN echo 1 > /tmp/x\n") == (first, [])
    second, _ = build(need, FROM + "RUN echo 2 > /tmp/x\n")
    assert second != first
    assert first not in docker("images", "-q", "--no-trunc")


def test_a_broken_build_is_one_line_with_its_log_and_leaves_nothing(need: ImageNeed) -> None:
    before = temporary()
    mark = secrets.token_hex(8)
    with pytest.raises(LabError) as failed:
        build(need, FROM + f"RUN echo {mark} && echo it broke here && exit 3\n")
    text = str(failed.value)
    assert need.tag in text
    assert "it broke here" in text
    assert "\n" not in text
    log = Path(text.rsplit("see ", 1)[1].removesuffix(")"))
    assert mark in log.read_text()
    assert sleepers(mark) == ""
    assert temporary() == before


def test_a_full_disk_is_told_as_such(need: ImageNeed) -> None:
    full = "RUN dd if=/dev/zero of=/dev/full bs=1k count=1\n"
    with pytest.raises(LabError, match="the disk is full"):
        build(need, FROM + full)


def test_a_tag_that_cannot_be_had_is_named() -> None:
    with pytest.raises(LabError, match="no recipe") as failed:
        ensure(ImageNeed("crosstalk/nowhere:0"))
    assert "crosstalk/nowhere:0" in str(failed.value)


def test_a_cancelled_build_leaves_no_container_and_no_folder(need: ImageNeed) -> None:
    before, mark = temporary(), f"sleep 6{secrets.randbelow(10**9)}"
    assert need.build is not None
    (need.build / "Dockerfile").write_text(FROM + f"RUN {mark}\n")

    async def cancelled() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(images.ensure, [need], print)
            await anyio.to_thread.run_sync(until, lambda: sleepers(mark) != "")
            group.cancel_scope.cancel()

    anyio.run(cancelled)
    until(lambda: sleepers(mark) == "")
    assert temporary() == before


def test_a_killed_lab_takes_its_build_with_it_and_the_next_one_clears_up(need: ImageNeed) -> None:
    before, mark = temporary(), f"sleep 6{secrets.randbelow(10**9)}"
    assert need.build is not None
    (need.build / "Dockerfile").write_text(FROM + f"RUN {mark}\n")
    script = (
        "import anyio, pathlib, sys; from lab.images import ensure as images\n"
        "need = images.ImageNeed(sys.argv[1], pathlib.Path(sys.argv[2]))\n"
        "anyio.run(images.ensure, [need], print)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, need.tag, str(need.build)], stdout=subprocess.DEVNULL
    ) as lab:
        until(lambda: sleepers(mark) != "")
        lab.send_signal(signal.SIGKILL)
    until(lambda: sleepers(mark) == "")
    assert temporary() > before
    build(need, FROM)
    assert temporary() == before


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """A fresh Postgres with two scripts to run; its container's name."""
    (tmp_path / "1.sql").write_text("CREATE TABLE t (a int); INSERT INTO t VALUES (7);")
    (tmp_path / "2.sh").write_text(
        'psql -qU "$POSTGRES_USER" -d "$POSTGRES_DB" -c "INSERT INTO t VALUES (8)"'
    )
    tmp_path.chmod(0o755)
    name = f"crosstalk-test-{secrets.token_hex(4)}"
    told = {"POSTGRES_USER": "owner", "POSTGRES_PASSWORD": "it's", "POSTGRES_DB": "shop"}
    settings = [part for key, value in told.items() for part in ("-e", f"{key}={value}")]
    mount = f"{tmp_path}:/docker-entrypoint-initdb.d:ro"
    options = ["--user=postgres", "--cap-drop=ALL", "-v", mount, *settings]
    docker(
        "run",
        "-d",
        f"--name={name}",
        *options,
        "postgres:15.18-bookworm",
        "-c",
        "max_connections=33",
    )
    yield name
    docker("rm", "-fv", name)


def test_postgres_takes_the_official_images_settings(postgres: str) -> None:
    ready = ["docker", "exec", postgres, "pg_isready", "-qh", "127.0.0.1"]
    until(lambda: subprocess.run(ready, check=False).returncode == 0)
    ask = ["exec", postgres, "psql", "-AtU", "owner", "shop", "-c"]
    assert docker(*ask, "SELECT a FROM t ORDER BY a") == "7\n8"
    assert docker(*ask, "SHOW max_connections") == "33"
    assert docker(*ask, "SELECT rolname FROM pg_roles WHERE rolsuper") == "owner"
    over_tcp = ["exec", "-e", "PGPASSWORD=it's", postgres, "sh", "-c"]
    assert docker(*over_tcp, 'psql -AtU owner -h "$(hostname -i)" shop -c "SELECT 1"') == "1"
    with pytest.raises(AssertionError, match="password authentication failed"):
        docker(*over_tcp, 'PGPASSWORD=no psql -U owner -h "$(hostname -i)" shop -c "SELECT 1"')


def test_redis_answers_from_outside_and_runs_as_its_own_user() -> None:
    name = f"crosstalk-test-{secrets.token_hex(4)}"
    docker("run", "-d", f"--name={name}", "redis:7.0.15-bookworm", "redis-server", "--save", "")
    try:
        ping = ["docker", "exec", name, "sh", "-c", 'redis-cli -h "$(hostname -i)" ping']
        until(lambda: b"PONG" in subprocess.run(ping, capture_output=True, check=False).stdout)
        assert docker("exec", name, "stat", "-c", "%U", "/proc/1") == "redis"
        assert docker("exec", name, "cat", "/proc/1/comm") == "redis-server"
    finally:
        docker("rm", "-fv", name)

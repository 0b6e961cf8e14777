"""The container engine of this machine: found, or on Debian as root installed and started.

Only a local engine will do, since the lab breaks things on purpose: a remote one is refused unless
the environment variable LAB_ALLOW_REMOTE_ENGINE holds its very endpoint.
"""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from time import monotonic, sleep
from typing import cast

import psutil

from lab.engine.hostlock import try_lock
from lab.errors import LabError, UsageError

DEFAULT_ENDPOINT = "unix:///var/run/docker.sock"
ANSWER_SECONDS = 2.0
INSTALL_SECONDS = 300.0
START_SECONDS = 30.0
PACKAGES = ("docker.io", "iptables")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine that answers; `cgroup` is 1 or 2, `driver` cgroupfs or systemd."""

    endpoint: str
    version: str
    cgroup: int
    driver: str
    is_local: bool


def ensure(say: Say) -> Engine:
    """The engine that answers, else one this machine's package manager provides, started.

    say: gets a line for each thing that takes time. Exports DOCKER_HOST when the endpoint is not
    the default one, so that every client of this process meets the same engine. Raises UsageError
    for a remote engine and LabError when none can be had, both with what to do.
    """
    endpoint, chosen = find_endpoint(os.environ)
    refuse_remote(endpoint, os.environ)
    engine = ask(endpoint)
    if engine is None:
        if chosen:
            raise LabError(
                f"no container engine answers at {endpoint} within {ANSWER_SECONDS:g} s",
                where=chosen,
                mend=f"start it, or unset {chosen}",
            )
        engine = _provide(endpoint, say)
    if endpoint != DEFAULT_ENDPOINT:
        os.environ["DOCKER_HOST"] = endpoint
    return engine


def find_endpoint(environment: Mapping[str, str]) -> tuple[str, str]:
    """The endpoint, and what chose it: DOCKER_HOST, the current context, or '' for the default."""
    if host := environment.get("DOCKER_HOST"):
        return host, "DOCKER_HOST"
    from docker.context import ContextAPI  # pyright: ignore[reportMissingTypeStubs]

    name = environment.get("DOCKER_CONTEXT")
    context = ContextAPI.get_context(name) if name else ContextAPI.get_current_context()
    host = cast("str", getattr(context, "Host", "") or DEFAULT_ENDPOINT)
    endpoint = host.removeprefix("http+")
    return endpoint, "" if endpoint == DEFAULT_ENDPOINT else "DOCKER_CONTEXT"


def refuse_remote(endpoint: str, environment: Mapping[str, str]) -> None:
    """Raise UsageError unless the endpoint is a socket of this machine, or allowed by name."""
    if is_local(endpoint) or environment.get("LAB_ALLOW_REMOTE_ENGINE") == endpoint:
        return
    raise UsageError(
        f"{endpoint} is a remote engine, and the lab breaks things",
        where="DOCKER_HOST",
        mend=f"unset it, or set LAB_ALLOW_REMOTE_ENGINE={endpoint}",
    )


def is_local(endpoint: str) -> bool:
    """Whether the endpoint is a socket or pipe of this machine; TCP and SSH never count as that."""
    return endpoint.startswith(("unix://", "npipe://"))


def ask(endpoint: str) -> Engine | None:
    """The engine at this endpoint; None when it does not answer within two seconds.

    Raises UsageError when it is a member of a swarm: what it starts may run on other machines.
    """
    import docker
    from docker.errors import DockerException
    from requests import RequestException

    if endpoint.startswith("unix://") and not _listens(endpoint.removeprefix("unix://")):
        return None
    try:
        with closing(docker.APIClient(base_url=endpoint, timeout=int(ANSWER_SECONDS))) as client:
            info = cast("dict[str, object]", client.info())
    except (DockerException, RequestException, OSError):
        return None
    swarm = cast("dict[str, object]", info.get("Swarm") or {})
    if swarm.get("LocalNodeState") == "active" and not os.environ.get("LAB_ALLOW_REMOTE_ENGINE"):
        raise UsageError(
            f"the engine at {endpoint} is a member of a swarm", mend="use an engine of its own"
        )
    return Engine(
        endpoint=endpoint,
        version=str(info.get("ServerVersion")),
        cgroup=int(str(info.get("CgroupVersion", 1))),
        driver=str(info.get("CgroupDriver")),
        is_local=is_local(endpoint),
    )


def _listens(path: str) -> bool:
    """Whether anybody accepts connections there; the client library leaks its socket if not."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(path)
        except PermissionError as error:
            raise LabError(
                "this user may not use the container engine",
                where=path,
                mend="add the user to the group that owns the socket, usually docker",
            ) from error
        except OSError:
            return False
    return True


def _provide(endpoint: str, say: Say) -> Engine:
    """Install and start an engine; a second lab on this machine waits for the first one's."""
    if os.name != "posix" or os.geteuid() != 0 or which("apt-get") is None:
        raise LabError(
            f"no container engine answers at {endpoint}",
            mend="install Docker 20.10 or newer and start it; as root on Debian the lab does it",
        )
    deadline = monotonic() + INSTALL_SECONDS
    while (lock := try_lock("engine")) is None:
        if monotonic() > deadline:
            raise LabError("another process has been installing the engine for too long")
        sleep(0.2)
    with lock:
        if engine := ask(endpoint):
            return engine
        began = monotonic()
        if which("dockerd") is None or which("docker") is None:
            say(f"installing {' and '.join(PACKAGES)} ...")
            _install()
            say(f"installed in {monotonic() - began:.1f} s")
        return _start(endpoint, say)


def _install() -> None:
    """The engine from the distribution; the package lists are fetched only where they are old."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-qy", "--no-install-recommends", *PACKAGES]
    commands = (install, ["apt-get", "update", "-q"], install)
    last = ""
    for number, command in enumerate(commands):
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=INSTALL_SECONDS,
            )
        except subprocess.TimeoutExpired as late:
            raise LabError(f"took over {INSTALL_SECONDS:g} s", where=" ".join(command)) from late
        if done.returncode == 0 and command is install:
            return
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        if done.returncode != 0 and number > 0:
            break
    raise LabError(last, where=" ".join(install), mend="install an engine by hand and start it")


def _start(endpoint: str, say: Say) -> Engine:
    """Start the daemon in a session of its own, so that it outlives the lab, and await it."""
    began, log = monotonic(), Path("/var/log/dockerd.log")
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "start", "docker"], check=False, capture_output=True)
        daemon = None
    else:
        script = 'setsid dockerd </dev/null >>"$0" 2>&1 & echo $!'
        daemon = int(subprocess.check_output(["sh", "-c", script, str(log)], text=True))
    while monotonic() - began < START_SECONDS:
        if engine := ask(endpoint):
            say(f"engine {engine.version} answers after {monotonic() - began:.1f} s")
            return engine
        if daemon is not None and not _runs(daemon):
            break
        sleep(0.1)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    causes = [line for line in lines if line.startswith("failed to start")]
    raise LabError(
        (causes or lines or ["the engine did not start and wrote no log"])[-1],
        where="dockerd",
        mend=f"see {log}",
    )


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True, slots=True)
class Check:
    """One thing `lab doctor` looked at; `mend` says what to do where it is not `ok`."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


DISK_FREE_GIB_MIN = 5.0
MEMORY_FREE_GIB_MIN = 4.0
CORES_MIN = 2


def diagnose() -> tuple[Check, ...]:
    """Engine, cgroups, cores, memory, disk, Python and images, in this order; changes nothing."""
    engine = _check_engine()
    images = _check_images() if engine[0].ok else ()
    return (*engine, *_check_machine(), *images)


def _check_engine() -> tuple[Check, ...]:
    endpoint, _ = find_endpoint(os.environ)
    try:
        refuse_remote(endpoint, os.environ)
        engine = ask(endpoint)
    except UsageError as error:
        return (Check("engine", False, error.what, error.mend),)
    if engine is None:
        return (Check("engine", False, f"{endpoint} does not answer", "lab doctor --fix"),)
    limits = Path("/sys/fs/cgroup/memory" if engine.cgroup == 1 else "/sys/fs/cgroup")
    return (
        Check("engine", True, f"{engine.version} at {engine.endpoint}"),
        Check(
            "cgroup",
            limits.is_dir(),
            f"version {engine.cgroup}, driver {engine.driver}",
            f"{limits} is not mounted",
        ),
    )


def _check_machine() -> tuple[Check, ...]:
    gib = 1 << 30
    cores, memory = len(os.sched_getaffinity(0)), psutil.virtual_memory().available / gib
    place = "/var/lib/docker" if Path("/var/lib/docker").is_dir() else "/"
    disk, python = psutil.disk_usage(place).free / gib, platform.python_version()
    return (
        Check("cores", cores >= CORES_MIN, f"{cores}", f"{CORES_MIN} are needed"),
        Check(
            "memory",
            memory >= MEMORY_FREE_GIB_MIN,
            f"{memory:.1f} GiB free",
            f"{MEMORY_FREE_GIB_MIN:g} GiB are needed",
        ),
        Check(
            "disk",
            disk >= DISK_FREE_GIB_MIN,
            f"{disk:.1f} GiB free on {place}",
            f"{DISK_FREE_GIB_MIN:g} GiB are needed",
        ),
        Check("python", sys.version_info >= (3, 11), python, "Python 3.11 or newer is needed"),
    )


def _check_images() -> tuple[Check, ...]:
    from lab.images import ensure as images

    try:
        missing, answers = images.survey()
    except LabError as error:
        return (Check("images", False, error.what, error.mend),)
    source = "pulled" if answers else "built here"
    return (
        Check("registry", True, "answers" if answers else "does not answer: images are built here"),
        Check(
            "images",
            True,
            f"{source} when needed: {', '.join(missing)}" if missing else "all are here",
        ),
    )

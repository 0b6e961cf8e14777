# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
"""The local container engine behind a small typed face; every failure is one LabError.

docker-py's calls are untyped and block: callers run them in threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from typing import TypeVar

import docker
from docker.errors import (
    APIError,
    DockerException,
    NotFound,
    create_api_error_from_http_exception,
)
from requests import exceptions as http

from lab.engine.limits import declared_in, limits_of, update_of
from lab.engine.machine import find_endpoint, refuse_remote
from lab.engine.things import Ended, Found, Placed, Standing
from lab.errors import LabError
from lab.hands.containers import Limits, Resource, ServiceState

RUN = "crosstalk.run"
SERVICE = "crosstalk.service"
FOLDER = "crosstalk.folder"
KEPT = "crosstalk.kept"

CALL_SECONDS = 90.0
"""No call may be silent for longer; the longest is a health check that waits."""

HANDS_SECONDS = 30.0
"""The same where a fault is put in or healed: what it asks is small, and a heal must not hang."""

GONE = 137
"""The exit status of a process whose container went away under it."""

T = TypeVar("T")


def labels(run: str, folder: str, service: str = "", *, kept: bool = False) -> dict[str, str]:
    """What everything of a run carries in the engine."""
    named = {SERVICE: service} if service else {}
    return {RUN: run, FOLDER: folder} | named | ({KEPT: "yes"} if kept else {})


class Engine:
    """What the lab asks of the engine. Safe to use from several threads."""

    def __init__(self, client: docker.APIClient) -> None:
        self._client = client

    @property
    def client(self) -> docker.APIClient:
        """docker-py itself, for the other modules of this room."""
        return self._client

    def tags(self) -> frozenset[str]:
        """Every image that is here, by tag."""
        images = told(self._client.images)
        return frozenset(tag for image in images for tag in image["RepoTags"] or ())

    def create_volume(self, name: str, marks: dict[str, str]) -> None:
        """A named volume that carries the run's labels."""
        told(lambda: self._client.create_volume(name, labels=marks))

    def ended(self, run: str) -> tuple[Ended, ...]:
        """The run's containers that have ended."""
        filters = {"label": f"{RUN}={run}", "status": ["exited", "dead"]}
        there = told(lambda: self._client.containers(all=True, filters=filters))
        return tuple(
            Ended(c["Labels"].get(SERVICE, ""), c["Id"], _status(c["Status"])) for c in there
        )

    def placed(self, container: str) -> Placed:
        """Where a container is."""
        seen = told(lambda: self._client.inspect_container(container))
        network = seen["NetworkSettings"]
        return Placed(
            running=bool(seen["State"]["Running"]),
            pid=int(seen["State"]["Pid"]),
            ports={
                int(inside.partition("/")[0]): int(outside[0]["HostPort"])
                for inside, outside in network["Ports"].items()
                if outside
            },
            hosts=frozenset(
                at["HostIp"] for outside in network["Ports"].values() for at in outside or ()
            ),
            addresses={name: at["IPAddress"] for name, at in network["Networks"].items()},
            labels=dict(seen["Config"]["Labels"] or {}),
            environment=dict(each.partition("=")[::2] for each in seen["Config"]["Env"] or ()),
        )

    def execute(self, container: str, command: Sequence[str], user: str = "") -> tuple[int, bytes]:
        """Run a command in a container, as its own user: its exit status and standard output."""

        def work() -> tuple[int, bytes]:
            made = self._client.exec_create(container, list(command), stderr=False, user=user)
            output = self._client.exec_start(made["Id"])
            status = self._client.exec_inspect(made["Id"])["ExitCode"]
            return (GONE if status is None else int(status)), bytes(output)

        try:
            return work()
        except APIError as error:
            if error.status_code in (404, 409):
                return GONE, b""
            raise told_as(error) from error
        except (DockerException, http.RequestException) as error:
            raise told_as(error) from error

    def begin(self, container: str, command: Sequence[str]) -> None:
        """Start a command in a container, and do not wait for it."""
        made = told(lambda: self._client.exec_create(container, list(command)))
        told(lambda: self._client.exec_start(made["Id"], detach=True))

    def wait(self, container: str) -> int:
        """The exit status of a container, once it has ended."""
        return int(told(lambda: self._client.wait(container))["StatusCode"])

    def kill(self, container: str, signal: int) -> None:
        """Signal a container's main process; one that is not running is fine."""
        try:
            self._client.kill(container, int(signal))
        except APIError as error:
            if error.status_code != 409:
                raise told_as(error) from error

    def ended_within(self, container: str, seconds: int) -> bool:
        """Whether a container has ended, or does within `seconds`."""
        try:
            self._client.wait(container, timeout=seconds)
        except (http.ReadTimeout, http.ConnectionError):
            return not self.state(container).running
        except (DockerException, http.RequestException) as error:
            raise told_as(error) from error
        return True

    def start(self, container: str) -> None:
        """Start a container; a running one is fine."""
        told(lambda: self._client.start(container))

    def stop(self, container: str) -> None:
        """Stop a container within its own grace; a stopped one is fine."""
        told(lambda: self._client.stop(container))

    def pause(self, container: str, paused: bool) -> None:
        """Freeze or thaw a container that is not yet so."""
        change = self._client.pause if paused else self._client.unpause
        if self.state(container).paused is not paused:
            told(lambda: change(container))

    def state(self, container: str) -> ServiceState:
        """Whether a container runs (one that waits to be restarted does not), and how."""
        seen = told(lambda: self._client.inspect_container(container))
        state = seen["State"]
        return ServiceState(
            running=bool(state["Running"]) and not state["Restarting"],
            paused=bool(state["Paused"]),
            started=str(state["StartedAt"]),
            limits=limits_of(seen["HostConfig"]),
        )

    def declared(self, container: str) -> Limits:
        """The limits a container was created with, from its label."""
        seen = told(lambda: self._client.inspect_container(container))
        return declared_in(seen["Config"]["Labels"])

    def limit(self, container: str, resource: Resource, amount: float) -> None:
        """Change one limit, 0 to none; docker-py's own call knows no pids."""
        body = update_of(resource, amount, self.declared(container))

        def work() -> None:
            path = f"/v{self._client.api_version}/containers/{container}/update"
            try:
                url = f"{self._client.base_url}{path}"
                self._client.post(url, json=body, timeout=self._client.timeout).raise_for_status()
            except http.HTTPError as refusal:
                create_api_error_from_http_exception(refusal)

        told(work)

    def log(self, container: str, lines: int = 0) -> str:
        """The last `lines` of a container's log, or all of it."""
        tail = lines or "all"
        return told(lambda: self._client.logs(container, tail=tail)).decode(errors="replace")  # pyright: ignore[reportArgumentType] - any str is taken for "all"

    def found(self, run: str) -> tuple[Found, ...]:
        """Everything that carries this run's label, in the order it has to be removed."""
        mine = {"label": f"{RUN}={run}"}
        containers = told(lambda: self._client.containers(all=True, filters=mine))
        networks = told(lambda: self._client.networks(filters=mine))
        volumes = told(lambda: self._client.volumes(filters=mine))["Volumes"] or []
        return (
            *(Found("container", c["Id"], c["Names"][0].lstrip("/")) for c in containers),
            *(Found("network", n["Id"], n["Name"]) for n in networks),
            *(Found("volume", v["Name"], v["Name"]) for v in volumes),
        )

    def remove(self, thing: Found) -> None:
        """Remove one object; gone, on its way, or still in use is fine: the sweep looks again."""
        try:
            if thing.kind == "container":
                with suppress(APIError):  # does not run; one that starts again now loses its cable
                    self._client.kill(thing.id)
                self._client.remove_container(thing.id, v=True, force=True)
            elif thing.kind == "network":
                self._remove_network(thing.id)
            else:
                self._client.remove_volume(thing.id, force=True)
        except NotFound:
            return
        except APIError as error:
            if error.status_code not in (403, 409, 500):
                raise told_as(error) from error

    def _remove_network(self, network: str) -> None:
        """Cut what gone containers left in first; an end cut as its container starts never goes."""
        ends = self._client.inspect_network(network).get("Containers") or {}
        boxes = self._client.containers(all=True) if ends else []  # a full host takes long to tell
        there = {name[1:] for each in boxes for name in each["Names"]}
        for name in {end["Name"] for end in ends.values()} - there:
            self._client.disconnect_container_from_network(name, network, force=True)
        self._client.remove_network(network)

    def standing(self, run: str = "", service: str = "") -> tuple[Standing, ...]:
        """Every container of the lab, or of one run, or of one service of it; by run and service.

        The engine leaves out what is not asked for, which on a full host is most of the time.
        """
        wanted = [f"{RUN}={run}" if run else RUN, *([f"{SERVICE}={service}"] if service else ())]
        there = told(lambda: self._client.containers(all=True, filters={"label": wanted}))
        boxes = [(each["Labels"], each) for each in there]
        return tuple(
            sorted(
                (
                    Standing(
                        run=marks[RUN],
                        service=marks.get(SERVICE, ""),
                        id=each["Id"],
                        status=each["Status"].lower(),
                        kept=KEPT in marks,
                    )
                    for marks, each in boxes
                ),
                key=lambda box: (box.run, box.service),
            )
        )


@contextmanager
def engine(call_seconds: float = CALL_SECONDS) -> Generator[Engine]:
    """The local engine; `call_seconds`: how long a call may be silent.

    Raises LabError when there is none, UsageError when it is not local. A remote engine
    is refused unless it is allowed by name: it is not this machine's to break.
    """
    endpoint, _ = find_endpoint(os.environ)
    refuse_remote(endpoint, os.environ)
    seconds = int(call_seconds)
    client = told(
        lambda: docker.APIClient(endpoint, _version(endpoint), timeout=seconds, max_pool_size=32)
    )
    try:
        yield Engine(client)
    finally:
        client.close()


@cache
def _version(endpoint: str) -> str:
    """The version of the API that both sides speak; asked once by a process."""
    with closing(docker.APIClient(endpoint, timeout=int(CALL_SECONDS))) as client:
        return client.api_version


def told(work: Callable[[], T]) -> T:
    """Make a call to the engine; what goes wrong is a LabError in one line."""
    try:
        return work()
    except (DockerException, http.RequestException) as error:
        raise told_as(error) from error


def told_as(error: Exception) -> LabError:
    """The one line for an engine that does not answer, or that refuses a call."""
    if isinstance(error, APIError):
        return LabError(f"the engine refused: {error.explanation or error}")
    return LabError(f"the engine does not answer: {error}", mend="is the engine running?")


def _status(text: str) -> str:
    """`Exited (1) 2 seconds ago` without the time."""
    return (text.partition(")")[0] + ")").lower() if ")" in text else text.lower()

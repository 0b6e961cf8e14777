"""Proof, before the first fault, that a dead lab's belongings die: with a dummy, not with promises.

A container that nobody needs is made under a run of its own, its lease is dropped as a kill would
drop it, and the healer has to have removed it within seconds. It costs some tenths of a second once
for every start of the engine.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import select
import tempfile
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from time import monotonic, sleep

from lab.engine import belongings
from lab.engine.api import Engine, engine, labels, told
from lab.engine.hostlock import try_lock
from lab.engine.machine import find_endpoint
from lab.errors import LabError
from lab.healing import lease
from lab.stack.plan import TOXIPROXY_IMAGE

REAP_SECONDS = 10.0
"""A healer that has not removed one container by then does not work here."""

Say = Callable[[str], None]


def prove(say: Say, marks: Path | None = None) -> float:
    """Make sure that reaping works on this engine; blocking. Returns the seconds it took.

    marks: the folder that remembers the engine starts for which it was shown; a person's own by
    default. Raises LabError when the dummy outlives its lease: then nothing may be injected.
    """
    place = marks or Path(tempfile.gettempdir()) / f"crosstalk-{os.getuid()}"
    mark = place / f"reaps-{_identity()}"
    if mark.exists():
        return 0.0
    began = monotonic()
    _reaped(f"proof-{secrets.token_hex(6)}")
    took = monotonic() - began
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark.touch()
    say(f"shown to work here: a dead lab's containers are removed ({took:.2f} s)")
    return took


def _identity() -> str:
    """One start of one engine, and one version of what is to be shown."""
    endpoint, _ = find_endpoint(os.environ)
    socket = Path(endpoint.removeprefix("unix://"))
    seen = [endpoint, Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")]
    here = Path(__file__)
    code = (here, here.with_name("healer.py"), Path(lease.__file__), Path(belongings.__file__))
    for path in (socket, *code):
        if path.exists():
            status = path.stat()
            seen += [str(status.st_ino), str(status.st_mtime_ns)]
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:16]


def _reaped(run: str) -> None:
    """Make a dummy, drop its lease, and see it die. Raises LabError when it does not."""
    with tempfile.TemporaryDirectory(prefix="crosstalk-proof-") as place:
        folder = Path(place)
        lock = try_lock("lab", folder)
        assert lock is not None, "the folder is new"
        words = ("run", run, str(folder), f"{REAP_SECONDS:g}")
        with lock, lease.spawn(folder, words, lock) as healer, engine() as client:
            try:
                _dummy(client, run, folder)
                _dropped(healer, folder)
                _await_gone(client, run)
            finally:
                healer.kill()
                for thing in client.found(run):
                    client.remove(thing)


def _dummy(client: Engine, run: str, folder: Path) -> None:
    """A container as small as they come, which never runs."""
    docker, marks = client.client, labels(run, str(folder))

    def work() -> None:
        docker.create_container(TOXIPROXY_IMAGE, labels=marks, network_disabled=True)  # pyright: ignore[reportUnknownMemberType]

    told(work)


def _dropped(healer: Popen[bytes], folder: Path) -> None:
    """Wait for the healer to be on its feet, and let go of the lease as a killed lab does."""
    assert healer.stdin is not None
    assert healer.stdout is not None
    heard = select.select([healer.stdout], [], [], lease.START_SECONDS)[0]
    if not heard or os.read(healer.stdout.fileno(), len(lease.READY)) != lease.READY:
        log = (folder / lease.LOG_NAME).read_text(errors="replace").strip()
        raise LabError(f"the healer does not start: {(log.splitlines() or ['no word'])[-1]}")
    healer.stdin.close()


def _await_gone(client: Engine, run: str) -> None:
    until = monotonic() + REAP_SECONDS
    while left := client.found(run):
        if monotonic() > until:
            raise LabError(
                f"the lab's reaper does not work here: {left[0]} outlived its lease by"
                f" {REAP_SECONDS:g} s",
                mend="nothing is injected before it does; `lab doctor` checks the engine",
            )
        sleep(0.01)

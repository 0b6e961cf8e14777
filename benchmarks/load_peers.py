"""Other load generators, for benchmarks/load.py: `python -m benchmarks.load_peers` gets them.

locust goes into a virtual environment of its own and never becomes a requirement of the lab; k6 and
hey are built by Go from their modules (about ten minutes on two cores, once); wrk is taken from the
machine (`apt-get install wrk`). All of them end up in `.venv/peers`. A peer that cannot be had is
told as "not here", and measured nowhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(sys.prefix) / "peers"
MODULES = {"k6": "go.k6.io/k6@v1.8.1", "hey": "github.com/rakyll/hey@v0.1.5"}
LOCUST = ("locust==2.47.0", "websocket-client==1.9.2")

K6_WEBSOCKET = """
import { WebSocket } from 'k6/websockets';
export const options = { vus: +__ENV.USERS, duration: '1h', gracefulStop: '0s' };
const every = 1000 * __ENV.USERS / __ENV.PER_SECOND;
export default function () {
  const socket = new WebSocket(__ENV.URL);
  let sent = 0, heard = 0;
  const ask = () => socket.send(`k6/${__VU}/${sent++} ${'x'.repeat(96)}`);
  socket.onopen = () => setTimeout(() => setInterval(ask, every), every * Math.random());
  socket.onmessage = () => { heard += 1; };
}
"""
K6_HTTP = """
import http from 'k6/http';
export const options = { scenarios: { open: {
  executor: 'constant-arrival-rate', rate: +__ENV.PER_SECOND, timeUnit: '1s', duration: '1h',
  preAllocatedVUs: +__ENV.USERS, gracefulStop: '0s' } } };
export default function () { http.get(__ENV.URL); }
"""
LOCUSTFILE = """
import os, time
from locust import FastHttpUser, User, constant_throughput, task
from websocket import create_connection

URL = os.environ["URL"]
EACH = constant_throughput(float(os.environ["PER_SECOND"]) / float(os.environ["USERS"]))

if URL.startswith("ws"):
    class Tenant(User):
        wait_time = EACH
        serial = 0

        def on_start(self):
            self.socket = create_connection(URL)

        @task
        def ask(self):
            began = time.perf_counter()
            self.serial += 1
            self.socket.send(f"locust/{self.serial} " + "x" * 96)
            answer = self.socket.recv()
            took_ms = (time.perf_counter() - began) * 1e3
            self.environment.events.request.fire(
                request_type="WS", name="ask", response_time=took_ms,
                response_length=len(answer), exception=None, context={},
            )
else:
    class Tenant(FastHttpUser):
        wait_time = EACH
        host = URL.rstrip("/")

        @task
        def ask(self):
            self.client.get("/")
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a peer is to do, without end: `users` connections, `per_second` in all."""

    url: str
    users: int
    per_second: float

    @property
    def environment(self) -> dict[str, str]:
        """For the peers' scripts."""
        told = {"URL": self.url, "USERS": str(self.users), "PER_SECOND": f"{self.per_second:g}"}
        return os.environ | told


def found(name: str) -> Path | None:
    """Where the peer is; None when it is not here."""
    own = PEERS / ("locust/bin/locust" if name == "locust" else name)
    there = own if own.exists() else shutil.which(name)
    return Path(there) if there else None


def started(name: str, asked: Asked, folder: Path) -> subprocess.Popen[bytes] | None:
    """The peer at work, in a process group of its own; None when it is not here."""
    program = found(name)
    if program is None:
        return None
    command = [str(program), *_arguments(name, asked, folder)]
    return subprocess.Popen(
        command,
        env=asked.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _arguments(name: str, asked: Asked, folder: Path) -> list[str]:
    """What the peer is called with."""
    match name:
        case "k6":
            script = folder / "k6.js"
            script.write_text(K6_WEBSOCKET if asked.url.startswith("ws") else K6_HTTP)
            return ["run", "--quiet", "--no-summary", "--no-usage-report", str(script)]
        case "locust":
            script = folder / "locustfile.py"
            script.write_text(LOCUSTFILE)
            users = ["--users", str(asked.users), "--spawn-rate", str(asked.users)]
            return ["--headless", "--only-summary", "--locustfile", str(script), *users]
        case "hey":
            each = asked.per_second / asked.users
            return ["-z", "1h", "-c", str(asked.users), "-q", f"{each:g}", asked.url]
        case "wrk":
            return ["-t", "1", "-c", "50", "-d", "1h", asked.url]
        case _:
            raise ValueError(f"no peer called {name}")


def main() -> None:
    """Get every peer that can be had, and say which are here."""
    PEERS.mkdir(exist_ok=True)
    if found("locust") is None:
        subprocess.run([sys.executable, "-m", "venv", PEERS / "locust"], check=False)
        pip = [PEERS / "locust/bin/python", "-m", "pip", "install", "--quiet", *LOCUST]
        subprocess.run(pip, check=False)
    go = shutil.which("go")
    for name, module in MODULES.items():
        if found(name) is None and go:
            environment = os.environ | {"GOBIN": str(PEERS)}
            subprocess.run([go, "install", module], env=environment, check=False)
    for name in ("locust", "k6", "hey", "wrk"):
        print(f"{name:8}{found(name) or 'not here'}")


if __name__ == "__main__":
    main()

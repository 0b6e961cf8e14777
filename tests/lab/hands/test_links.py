"""The adapter against servers that misbehave; the real one is in `tests/docker/test_links.py`."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic

import anyio
import pytest

from lab.errors import LabError
from lab.hands import Toxic
from lab.hands.real.links import CALL_SECONDS, ToxiproxyLinks
from lab.system import Endpoint

DELAY = Toxic("delay", "latency", "downstream", {"latency": 5})
PROXY: dict[str, object] = {
    "name": "redis@app",
    "listen": "10.0.0.2:6379",
    "upstream": "redis-origin:6379",
    "enabled": True,
    "toxics": [],
}


@contextmanager
def server(status: int, body: object, *, silent: bool = False) -> Generator[Endpoint]:
    """A control port that answers everything the same way, or accepts and never answers."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if silent:
                over.wait(10)
                return
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Endpoint("127.0.0.1", httpd.server_port)
    finally:
        over.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def add(endpoint: Endpoint) -> str:
    """What adding a toxic through this server complains about."""
    links = ToxiproxyLinks(endpoint, ["redis@app"])
    try:
        with pytest.raises(LabError) as caught:
            anyio.run(links.add, "redis", DELAY)
    finally:
        links.close()
    return str(caught.value)


def test_a_write_that_does_not_show_in_the_read_back_is_an_error() -> None:
    with server(200, {"redis@app": PROXY}) as endpoint:
        assert "did not take hold" in add(endpoint)


def test_a_server_error_is_not_swallowed() -> None:
    with server(503, {"error": "busy"}) as endpoint:
        assert "answered 503" in add(endpoint)


def test_an_answer_that_makes_no_sense_is_an_error() -> None:
    with server(200, ["what"]) as endpoint:
        assert "makes no sense" in add(endpoint)


def test_a_wedged_control_port_is_an_error_within_the_deadline() -> None:
    with server(200, {}, silent=True) as endpoint:
        began = monotonic()
        assert "does not answer" in add(endpoint)
        assert monotonic() - began < CALL_SECONDS


def test_nobody_at_the_control_port_is_an_error() -> None:
    with server(200, {}) as endpoint:
        pass
    assert "does not answer" in add(endpoint)


def test_two_stacks_do_not_redirect_each_other() -> None:
    with server(500, {}) as one, server(503, {}) as two:
        first, second = ToxiproxyLinks(one, ["redis@app"]), ToxiproxyLinks(two, ["redis@app"])
        for links, code in ((first, "500"), (second, "503"), (first, "500")):
            with pytest.raises(LabError, match=f"answered {code}"):
                anyio.run(links.toxics)
        first.close()
        second.close()

"""Every HTTP endpoint, with requests made from its own description: good ones and bad ones.

Whatever is sent, the answer is one that `/openapi.json` documents, no log holds a traceback, no
answer holds a tenant's secret, and a tenant is served as before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis import checks as general
from schemathesis.specs.openapi import checks

from lab.actions import Read, Write
from lab.system import Session

from .doors import SWITCHED, call, key_of, knocked, logged_in, signed
from .stacks import Held, Running, ask, held

pytestmark = pytest.mark.docker

ENTRANCES = ("client", "admin", "login")
EXAMPLES, PLAIN_EXAMPLES = 12, 2
"""Requests for each operation and mode; the second for what has neither body nor parameter."""
UNHURRIED = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
CHECKS: list[Any] = [  # schemathesis is typed in part only
    general.not_a_server_error,  # pyright: ignore[reportUnknownMemberType]
    checks.status_code_conformance,  # pyright: ignore[reportUnknownMemberType]
    checks.response_schema_conformance,  # pyright: ignore[reportUnknownMemberType]
    checks.unsupported_method,  # pyright: ignore[reportUnknownMemberType]
]
SECRET = "canary-of-the-witness"
SERVICE_PATHS = ("/sessions/over", "/tickets/redeem")


@pytest.fixture(scope="module")
def stack() -> Generator[Held]:
    with held() as running:
        yield running


@pytest.mark.timeout(180)
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_every_request_gets_a_documented_answer(stack: Held, entrance: str) -> None:
    witness = stack.do(_witness)
    base = f"http://{stack.running.stack.site.entrance(entrance, 'quiet')}"
    seen: set[int] = set()
    for operation in _operations(requests.get(f"{base}/openapi.json", timeout=10).json()):
        headers = stack.portal.call(_allowed, stack.running, operation.path)
        for mode in _modes(operation):
            seen |= _fuzzed(operation, mode, base, headers)
    assert 200 in seen
    assert 400 in seen or entrance == "client", seen  # which has nothing to be wrong about
    stack.do(lambda running: _still_served(running, witness))


def test_the_description_has_every_route_and_every_code(stack: Held) -> None:
    async def body(running: Running) -> None:
        expected = {
            "client": {"/health", "/ready", "/metrics"},
            "admin": {"/tenants", "/tenants/{tenant}/quotas", "/counters", "/defects"},
            "login": {
                "/health", "/ready", "/metrics", "/login", "/sessions/renew", "/sessions/check",
                "/sessions/close", "/sessions/close-all", "/sessions/over", "/tickets",
                "/tickets/redeem", "/users/deactivate", "/defects",
            },
        }  # fmt: skip
        for entrance, paths in expected.items():
            _, text = await call(running, entrance, "/openapi.json", method="GET")
            document = json.loads(text)
            assert document["openapi"] == "3.1.0"
            assert document["paths"].keys() == paths | {"/openapi.json"}
            assert "4401" in document["info"]["description"]

    stack.do(body)


def test_what_is_not_described_is_not_there(stack: Held) -> None:
    async def body(running: Running) -> None:
        for entrance in ENTRANCES:
            for path in ("/", "/docs", "/debug", "/admin", "/.env", "/%2e%2e/etc/passwd"):
                assert (await call(running, entrance, path, method="GET"))[0] == 404

    stack.do(body)


def test_a_body_that_is_too_large_is_refused_before_it_is_all_there(stack: Held) -> None:
    async def body(running: Running) -> None:
        status, text = await call(running, "login", "/login", body=b"x" * 200_000)
        assert (status, json.loads(text)["error"]) == (413, "too_large")

    stack.do(body)


def _operations(document: Mapping[str, Any]) -> Iterator[Any]:
    schema: Any = schemathesis.openapi.from_dict(dict(document))
    for found in schema.get_all_operations():
        yield found.ok()


def _modes(operation: Any) -> list[GenerationMode]:
    """Only what has a body can be wrong."""
    if "requestBody" in operation.definition.raw:
        return [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    return [GenerationMode.POSITIVE]


def _fuzzed(operation: Any, mode: Any, base: str, headers: Mapping[str, str]) -> set[int]:
    seen: set[int] = set()

    whole = operation.definition.raw
    examples = EXAMPLES if {"requestBody", "parameters"} & whole.keys() else PLAIN_EXAMPLES

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=UNHURRIED,
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def sent(case: Any) -> None:
        response = case.call(base_url=base, headers=dict(headers), timeout=10)
        seen.add(response.status_code)
        assert SECRET not in response.text
        case.validate_response(response, checks=CHECKS)

    sent()
    return seen


async def _allowed(running: Running, path: str) -> dict[str, str]:
    """What opens the guard of a path: the operator's token, and a tenant's or the backend's."""
    now = int(time.time())
    service = {
        "iss": "crosstalk-auth", "aud": "crosstalk-auth", "iat": now, "exp": now + 300,
        "jti": "fuzz", "sub": "backend", "sid": "",
    }  # fmt: skip
    (tenant,) = await running.tenants()
    mine = await logged_in(running, tenant)
    token = signed(service, key_of(running)) if path in SERVICE_PATHS else mine
    return {
        "X-Lab-Token": running.stack.site.variables["LAB_TOKEN"],
        "Authorization": f"Bearer {token}",
    }


async def _witness(running: Running) -> str:
    (tenant,) = await running.tenants()
    session: Session = await running.connect(tenant)
    assert await ask(session, Write("k", SECRET), "w") == "None"
    return await logged_in(running, tenant)


async def _still_served(running: Running, token: str) -> None:
    """The witness gets in, another tenant's session works, and no log tells of a mistake."""
    assert await knocked(running, token) == SWITCHED
    _, session = await running.session()
    assert await ask(session, Write("k", "v"), "w") == "None"
    assert await ask(session, Read("k"), "r") == "v"
    await running.logs()
    for log in running.folder.glob("*.log"):
        assert "Traceback" not in log.read_text(), log.name

"""Ten thousand messages that nobody should send, and every token that nobody should hold.

Whatever comes, there is exactly one documented answer or error for each message, or a documented
close code; nobody receives a byte of another tenant's; and the witness is answered all the while.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from lab.actions import Read, Write
from lab.system import Session, Tenant

from .certificates.identity import FORGERIES
from .doors import (
    Claims,
    at_the_door,
    call,
    claims_of,
    key_of,
    knocked,
    logged_in,
    message,
    signed,
)
from .levers import ROOMY, set_quotas
from .stacks import Held, Running, ask, held

pytestmark = pytest.mark.docker

EXAMPLES, BATCH = 250, 40  # what a batch costs to make grows faster than its size
MESSAGES = EXAMPLES * BATCH
ANSWER_SECONDS = 20.0
UNHURRIED = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)
SECRET = f"canary-{secrets.token_hex(16)}"
ACTIONS: tuple[object, ...] = (
    {"kind": "write", "key": "k", "value": "v"}, {"kind": "read", "key": "k"}, {"kind": "list"},
    {"kind": "work", "work": "cpu", "amount_ms": 1}, {"kind": "spend", "amount": 1},
    {"kind": "edit", "name": "assistant", "version": 1}, {"kind": "say"},
)  # fmt: skip
FIELDS = (
    ("type",), ("content",), ("thread_id",), ("user_id",), ("metadata",), ("metadata", "tenant_id"),
    ("metadata", "message_id"), ("metadata", "action"), ("metadata", "deadline_ms"),
    ("metadata", "action", "kind"), ("metadata", "action", "key"), ("metadata", "action", "value"),
    ("metadata", "action", "amount_ms"), ("metadata", "action", "nobody's"),
)  # fmt: skip
letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), letters,
    st.just([]), st.just({}), st.sampled_from(["user_message", "renew", "../x", "' OR 1=1 --"]),
)  # fmt: skip
edits = st.tuples(st.sampled_from("dir"), st.integers(0, 400), letters)
Sent = Callable[[Tenant, int], str]


@st.composite
def replaced(draw: st.DrawFn) -> Sent:
    """A good message with one field of any value."""
    action, path, value = (
        draw(st.sampled_from(ACTIONS)),
        draw(st.sampled_from(FIELDS)),
        draw(values),
    )

    def made(tenant: Tenant, number: int) -> str:
        whole = json.loads(message(tenant, f"f{number}", action=action, deadline_ms=300))
        at = whole
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = value
        return json.dumps(whole)

    return made


@st.composite
def mangled(draw: st.DrawFn) -> Sent:
    """A good message's text with some characters deleted, inserted or replaced."""
    action, changes = draw(st.sampled_from(ACTIONS)), draw(st.lists(edits, min_size=1, max_size=3))

    def made(tenant: Tenant, number: int) -> str:
        text = message(tenant, f"m{number}", action=action, deadline_ms=300)
        for how, at, new in changes:
            at %= len(text) + 1
            text = text[:at] + ("" if how == "d" else new) + text[at + (how != "i") :]
        return text

    return made


@st.composite
def foreign(draw: st.DrawFn) -> Sent:
    """A good message for somebody else, something nested, or a renewal of any kind."""
    who, depth = draw(st.sampled_from(["witness", "*", "", "../"])), draw(st.integers(1, 1500))
    kind, token = draw(st.integers(0, 3)), draw(letters)

    def made(tenant: Tenant, number: int) -> str:
        if kind == 0:
            return message(tenant, f"w{number}").replace(tenant.id, who)
        if kind == 1:
            return "[" * depth + "]" * depth
        if kind == 2:
            return '{"type":"user_message","metadata":' * depth + "1" + "}" * depth
        return json.dumps({"type": "renew", "token": f"eyJ.{token}.", "message_id": f"r{number}"})

    return made


batches = st.lists(replaced() | mangled() | foreign(), min_size=BATCH, max_size=BATCH)


class Fuzzer:
    """One tenant that sends anything, and one that must not notice."""

    def __init__(self, running: Running, tenant: Tenant, witness: Session) -> None:
        self._running, self._tenant, self._witness = running, tenant, witness
        self._socket: ClientConnection | None = None
        self._holder = at_the_door(running)
        self.codes: Counter[str] = Counter()
        self.sent = 0

    @classmethod
    async def begin(cls, running: Running) -> Fuzzer:
        """Make both, and the witness's secret."""
        (tenant,) = await running.tenants()
        await set_quotas(running, tenant, **ROOMY)
        _, witness = await running.session()
        assert await ask(witness, Write("k", SECRET), "w") == "None"
        made = cls(running, tenant, witness)
        made._holder = at_the_door(running, await logged_in(running, tenant))
        made._socket = await made._holder.__aenter__()
        return made

    async def batch(self, makers: Sequence[Sent]) -> None:
        """Send all of a batch, then hear as many answers; then the witness asks."""
        assert self._socket is not None
        for make in makers:
            self.sent += 1
            await self._socket.send(make(self._tenant, self.sent))
        async with asyncio.timeout(ANSWER_SECONDS):
            for _ in makers:
                text = str(await self._socket.recv())
                assert SECRET not in text
                reply = json.loads(text)
                self.codes[reply.get("code", reply["type"])] += 1
        assert await ask(self._witness, Read("k"), f"r{self.sent}") == SECRET

    async def end(self) -> None:
        """Close the socket."""
        await self._holder.__aexit__(None, None, None)


@pytest.fixture(scope="module")
def stack() -> Generator[Held]:
    with held() as running:
        yield running


@pytest.mark.timeout(240)
def test_ten_thousand_messages_get_one_documented_answer_each(stack: Held) -> None:
    running = stack.running
    fuzzer = stack.portal.call(Fuzzer.begin, running)

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=UNHURRIED,
    )  # fmt: skip
    @given(batches)
    def sent(makers: list[Sent]) -> None:
        stack.portal.call(fuzzer.batch, makers)

    sent()
    stack.portal.call(fuzzer.end)
    stack.do(lambda _: _documented(running, fuzzer.codes))
    assert fuzzer.sent >= MESSAGES
    assert {"agent_message", "bad_message", "wrong_tenant", "bad_token"} <= fuzzer.codes.keys()


def test_a_frame_that_is_no_message_closes_with_its_own_code(stack: Held) -> None:
    chosen = random.Random(7)
    frames = [
        *[(chosen.randbytes(chosen.randrange(200)), False, 1003) for _ in range(8)],
        *[(b"\xff" + chosen.randbytes(50), True, 1007) for _ in range(8)],
        *[(b"x" * (65_537 + chosen.randrange(99_999)), True, 1009) for _ in range(4)],
    ]

    async def body(running: Running) -> None:
        _, witness = await running.session()
        assert await ask(witness, Write("k", SECRET), "w") == "None"
        (tenant,) = await running.tenants()
        for frame, text, code in frames:
            async with at_the_door(running, await logged_in(running, tenant)) as socket:
                await socket.send(frame, text=text)
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
                # A socket that is closed while it still sends may be reset before the code is read.
                assert socket.close_code in (code, 1006 if code == 1009 else code), frame[:20]
        assert await ask(witness, Read("k"), "r") == SECRET
        await _documented(running, Counter())

    stack.do(body)


def test_no_tampered_token_opens_a_door(stack: Held) -> None:
    chosen = random.Random(11)

    async def body(running: Running) -> None:
        mine, other = await running.tenants(2)
        token = await logged_in(running, mine)
        claims, key = claims_of(token), key_of(running)
        bad = [forge(claims, key) for forge in FORGERIES.values()]
        bad += [forge(claims, key) for forge in TRICKS]
        bad += [signed(claims | {"tenant": other.id}, key), signed(claims | {"sid": "0" * 32}, key)]
        for _ in range(40):
            at, new = chosen.randrange(len(token) - 2), chosen.choice("AZaz09-_.=%\t")
            if token[at] != new:
                bad.append(token[:at] + new + token[at + 1 :])
        for each in bad:
            status, _ = await call(running, "login", "/sessions/check", token=each)
            assert status == 401, each
        for each in bad[:24]:
            assert await knocked(running, each) == 401, each
        assert await knocked(running, token) == 101
        await _documented(running, Counter())

    stack.do(body)


def _late(claims: Claims, key: bytes) -> str:
    return signed(claims | {"exp": int(time.time()) - 11}, key)


TRICKS: tuple[Callable[[Claims, bytes], str], ...] = (
    _late,
    lambda claims, key: signed(claims, key, kid=""),
    lambda claims, key: signed(claims, key, kid=None),
    lambda claims, key: signed(claims, b"", kid="../../../../dev/null"),
    lambda claims, key: signed(claims, key, kid="run-1' OR '1'='1"),
    lambda claims, key: signed(claims, key, kid=["run-1"]),
    lambda claims, key: signed(claims, key, kid={"run-1": 1}),
    lambda claims, key: signed(claims, key, alg="NONE"),
    lambda claims, key: signed(claims, key, alg="RS256"),
    lambda claims, key: signed(claims, key, alg=None),
    lambda claims, key: signed(claims, key, crit=["exp"]),
    lambda claims, key: signed(claims, key[:16]),
    lambda claims, key: signed(claims, key + b"x"),
    lambda claims, key: signed(claims | {"exp": "never"}, key),
    lambda claims, key: signed(claims | {"exp": 1e400}, key),
    lambda claims, key: signed(claims | {"exp": 10**30}, key),
    lambda claims, key: signed(claims | {"iat": int(time.time()) + 3600}, key),
    lambda claims, key: signed(claims | {"nbf": int(time.time()) + 3600}, key),
    lambda claims, key: signed(claims | {"sub": "admin"}, key),
    lambda claims, key: signed(claims | {"tenant": ["t"]}, key),
    lambda claims, key: signed(claims | {"tenant": "*"}, key),
    lambda claims, key: signed(claims | {"aud": []}, key),
    lambda claims, key: signed(claims | {"sid": None}, key),
)


async def _documented(running: Running, codes: Counter[str]) -> None:
    """Every code is in the description, and no container's log tells of a mistake."""
    _, text = await call(running, "client", "/openapi.json", method="GET")
    known = json.loads(text)["components"]["schemas"]["Error"]["properties"]["error"]["enum"]
    assert codes.keys() <= {*known, "agent_message", "renewed"}
    assert not codes["internal"]
    await running.logs()
    for log in running.folder.glob("*.log"):
        assert "Traceback" not in log.read_text(), log.name

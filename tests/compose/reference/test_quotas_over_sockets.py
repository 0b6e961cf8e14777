"""Quotas through real sockets: given, changed, kept, held to, counted, and told in a refusal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator

import aiohttp
import msgspec
import pytest
from websockets.exceptions import WebSocketException

from lab.actions import Read, Work, Write
from lab.system import Refused, Tenant

from .levers import PASSWORD, call, counters, many, model_calls, model_does, refused, set_quotas
from .stacks import Held, Running, ask, eventually, held

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def stack() -> Generator[Held]:
    with held() as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PATCH", "/tenants/nobody/quotas", {"burst": 1}, 404),
        ("PATCH", "/tenants/nobody/quotas", {"brust": 1}, 400),
        ("PATCH", "/tenants/nobody/quotas", {"burst": -1}, 400),
        ("POST", "/tenants", [{"tenant_id": "q", "user_id": "u", "email": "e", "password": PASSWORD,
                               "quotas": {"pids": 0}}], 400),
    ],
)  # fmt: skip
def test_impossible_quotas_are_refused_in_words(
    stack: Held, method: str, path: str, body: object, status: int
) -> None:
    async def check(running: Running) -> None:
        with pytest.raises(AssertionError, match=f": {status} "):
            await call(running, "admin", method, path, body)

    stack.do(check)


def test_every_use_and_every_refusal_is_counted_by_tenant_and_kind(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        assert await ask(session, Write("k", "v" * 400), "1") == "None"
        assert await ask(session, Work("cpu", 5), "2") == "None"
        assert not (await ask(session, Work("query", 5), "3")).startswith("refused")
        assert await ask(session, Work("files", 1), "4") == "None"
        await set_quotas(running, tenant, cpu_ms_per_second=0.1, tokens_per_minute=1)
        told = await many(session, 3, lambda n: Work("cpu", 5))
        seen = await counters(running, tenant)
        assert seen["accepted"] == 4 + 3  # at the door, which knows nothing of their work
        assert seen["used"]["tokens"] >= 200  # the prompt and its echo
        assert seen["used"]["cpu"] >= 5
        assert seen["used"]["database"] > 0
        assert seen["used"]["disk"] >= 60
        assert seen["used"]["network"] >= 0.8
        assert sum(seen["refused"].values()) == refused(told) > 0

    stack.do(body)


def test_who_is_refused_all_the_time_is_read_no_oftener_than_the_meter_allows(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        await set_quotas(running, tenant, burst=1, requests_per_second=0.01)
        began = time.monotonic()
        told = await many(session, 250, lambda n: Read("k"))
        assert refused(told, "rate_limited") == 249
        at_once = 100 + 32  # the meter's burst, and what was read already
        assert time.monotonic() - began >= (249 - at_once) / 100

    stack.do(body)


def test_the_time_that_a_refusal_names_is_enough(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        await set_quotas(running, tenant, burst=1, requests_per_second=5)
        assert refused(await many(session, 2, lambda n: Read("k"))) == 1
        (told,) = [msgspec.json.decode(text) for text in session.overheard()]
        await asyncio.sleep(told["retry_after_ms"] / 1000)
        assert await ask(session, Read("k"), "again") == "None"

    stack.do(body)


def test_a_hanging_model_costs_a_tenant_its_deadline_and_its_neighbour_nothing(
    stack: Held,
) -> None:
    async def body(running: Running) -> None:
        stuck, free = await running.tenants(2)
        hanging, session = await running.connect(stuck), await running.connect(free)
        async with model_does(running, stuck, hang=True):
            told = [asyncio.create_task(ask(hanging, Read("k"), f"h{n}", 1.0)) for n in range(6)]
            for n in range(10):
                assert await ask(session, Read("k"), f"r{n}") == "None"
            assert set(await asyncio.gather(*told)) == {"refused deadline"}
            assert await ask(session, Read("k"), "after") == "None"
        assert await ask(hanging, Read("k"), "healed") == "None"

    stack.do(body)


def test_a_failing_model_is_asked_once_and_nothing_is_written(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        for n, how in enumerate(({"fail": True}, {"break_after_tokens": 2})):
            async with model_does(running, tenant, **how):
                assert await ask(session, Write("k", "v"), f"w{n}") == "refused llm_unavailable"
            assert await model_calls(running, tenant) == 2 * n + 1
            assert await ask(session, Read("k"), f"r{n}") == "None"

    stack.do(body)


def test_the_model_streams_at_its_pace_the_same_every_time(stack: Held) -> None:
    async def body(running: Running) -> None:
        url = f"http://{running.stack.site.entrance('model')}/complete"
        (tenant,) = await running.tenants()
        prompt, heard = "one two three four five " * 10, list[str]()
        async with (
            model_does(running, tenant, delay_ms=0, tokens_per_second=200),
            aiohttp.ClientSession(headers={"X-Tenant": tenant.id}) as http,
        ):
            for _ in range(2):
                began, chunks = time.monotonic(), list[bytes]()
                async with http.post(url, json={"prompt": prompt}) as response:
                    async for chunk in response.content.iter_any():
                        chunks.append(chunk)
                assert time.monotonic() - began >= 0.25  # 62 tokens at 200 a second, less a tick
                assert len(chunks) > 5
                heard.append(b"".join(chunks).decode())
        assert heard == [f"echo: {prompt}"] * 2

    stack.do(body)


def test_only_the_lab_makes_the_model_fail(stack: Held) -> None:
    async def body(running: Running) -> None:
        where = running.stack.site.entrance("model")
        async with aiohttp.ClientSession(headers={"X-Lab-Token": "guessed"}) as http:
            for method, path in (("PUT", "behaviour"), ("DELETE", "behaviour"), ("GET", "calls")):
                async with http.request(method, f"http://{where}/{path}", json={}) as response:
                    assert response.status == 403

    stack.do(body)


def test_the_first_sockets_of_a_tenant_are_counted_by_its_own_quotas_too(stack: Held) -> None:
    tenant = Tenant("few", "made-with-few-sockets", "quiet", secrets={"password": PASSWORD})

    async def let_in(running: Running) -> bool:
        try:
            await running.connect(tenant)
        except Refused:
            return False
        return True

    async def body(running: Running) -> None:
        made = {
            "tenant_id": tenant.id, "user_id": "user", "email": f"{tenant.id}@tenants.test",
            "quotas": {"sockets": 2}, **tenant.secrets,
        }  # fmt: skip
        await call(running, "admin", "POST", "/tenants", [made])
        assert sum(await asyncio.gather(*(let_in(running) for _ in range(6)))) == 2

    stack.do(body)


def test_a_tenant_made_with_quotas_is_held_to_them_and_so_it_is_after_a_restart(
    stack: Held,
) -> None:
    tenant = Tenant("made", "made-with-quotas", "quiet", secrets={"password": PASSWORD})

    async def let_in(running: Running) -> int:
        session = await running.connect(tenant)
        return 5 - refused(await many(session, 5, lambda n: Read("k")), "rate_limited")

    async def back(running: Running) -> bool:
        try:
            await running.connect(tenant)
        except (OSError, WebSocketException):
            return False
        return True

    async def body(running: Running) -> None:
        made = {
            "tenant_id": tenant.id, "user_id": "user", "email": f"{tenant.id}@tenants.test",
            "quotas": {"burst": 2, "requests_per_second": 0.01}, **tenant.secrets,
        }  # fmt: skip
        await call(running, "admin", "POST", "/tenants", [made])
        assert await let_in(running) == 2
        await running.close()
        await running.stack.containers.stop("backend")
        await running.stack.containers.start("backend")
        await eventually(lambda: back(running), 15.0)
        assert await let_in(running) == 2

    stack.do(body)

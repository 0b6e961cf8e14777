"""The backend: builds the rooms, opens both ports, and takes everything down in order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from starlette.routing import WebSocketRoute

from . import api, config, defects, health, log, provisioning, quotas, serving, upkeep
from .admission import Admission
from .agent_line import AgentPort
from .agent_process import AgentProcess
from .agents import Agents, OwnAgents, SharedAgents
from .auth_client import AuthClient
from .claims import Claims
from .fair import Gate
from .gateway import Gateway
from .llm_client import LlmClient
from .outbox import Relay
from .owners import Owners
from .pool import Login, Pool
from .redis_link import RedisLink
from .state import States
from .tenant_tx import Database
from .turn import Rooms

PROVISIONING_CONNECT_SECONDS = 10.0
"""Nobody waits behind a provisioning call, so it may outlast a busy moment."""


def login(settings: config.Backend, user: str, password: str) -> Login:
    """How to log in to Postgres as one of its roles."""
    return Login(
        host=settings.postgres_host, port=settings.postgres_port, database=settings.postgres_db,
        user=user, password=password, application=f"backend-{user}",
        connect_seconds=settings.connect_timeout_ms / 1000, pooled=bool(settings.postgres_pooled),
    )  # fmt: skip


async def _agents(
    settings: config.Backend,
    quotas_of: Callable[[str], quotas.Quotas],
    redis: RedisLink,
    ending: AsyncExitStack,
) -> Agents:
    """Who runs the agents in this mode."""
    if settings.agent_mode == "shared":
        return SharedAgents(quotas_of)
    if settings.agent_mode == "process":
        owners = Owners(redis, settings.replica) if settings.replica else None
        return OwnAgents(AgentProcess.start, quotas_of, owners)
    port = AgentPort(settings.agent_key)
    await port.listen()
    ending.callback(port.close)
    return OwnAgents(port.start, quotas_of)


async def main(settings: config.Backend) -> None:
    """Run the backend until it is told to stop."""
    pool = Pool(login(settings, "app", settings.app_password), settings.pool_min, settings.pool_max)
    admission = Admission(quotas.parsed(settings.tenant_quotas))
    gate = Gate(settings.pool_max, admission.pool_share)
    redis = RedisLink(
        settings.redis_host, settings.redis_port, settings.redis_password,
        connect_seconds=settings.connect_timeout_ms / 1000,
        reply_seconds=settings.store_timeout_ms / 1000,
    )  # fmt: skip
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector) as http, AsyncExitStack() as ending:
        agents = await _agents(settings, admission.quotas, redis, ending)
        llm, auth = (
            LlmClient(settings.llm_url, http),
            AuthClient(settings.auth_url, http, settings.jwt_key),
        )
        database = Database(pool, gate, settings.store_timeout_ms / 1000)
        states = States(redis, database, settings.state_ttl_seconds)
        claims, relay = Claims(database, settings.claim_lease_seconds), Relay(database)
        rooms = Rooms(states, database, llm, agents, admission, claims, relay, {})
        gateway = Gateway(settings, rooms, auth)

        def counters() -> dict[str, Any]:
            tallies = admission.tallies.items()
            breakers = (pool.breaker, redis.breaker, llm.breaker, auth.breaker)
            return {
                "pool": pool.counters(), "gate": gate.counters(), "agents": agents.counters(),
                "held": gate.held, "lent": database.lent, "knocks": gateway.knocks,
                "sockets": gateway.sockets, "in_flight": len(gateway.in_flight),
                "files": sorted(path.name for path in Path("/tmp").glob("agent-*")),
                "tenants": {tenant: tally.counters() for tenant, tally in tallies},
                "retries": {"redis": redis.budget.counters()},
                "breakers_open": [b.name for b in breakers if b.is_open],
            }  # fmt: skip

        probes = {
            "postgres": pool.probe,
            "redis": redis.probe,
            "auth": auth.probe,
            "llm": llm.probe,
        }
        routes = [
            WebSocketRoute("/ws", gateway),
            *health.routes(probes, lambda: gateway.draining),
        ]
        front = api.application("backend", routes)
        servers = [serving.server(front, settings.port)]
        if settings.lab_token:
            admin = provisioning.Provisioning(
                replace(
                    login(settings, "provisioner", settings.provisioner_password),
                    connect_seconds=PROVISIONING_CONNECT_SECONDS,
                ),
                states, settings.lab_token, counters, admission,
            )  # fmt: skip
            servers.append(serving.server(provisioning.app(admin), 8001))
        for_ever = (pool.keep_warm, gateway.watch, claims.keep, relay.run)
        tasks = [asyncio.ensure_future(upkeep.for_ever(w.__qualname__, w)) for w in for_ever]
        await serving.serve(*servers, drain=gateway.drain)
        await claims.settled()
        for task in tasks:
            task.cancel()
        await auth.settled()
        redis.close()
        llm.breaker.close()
        auth.breaker.close()
        pool.close()


def start() -> None:
    """Check the configuration, say which defects are on, and run."""
    settings = config.load_or_exit(config.Backend, os.environ)
    planted = defects.plant_or_exit(settings.lab_defects, settings.lab_token)
    log.line("starting", mode=settings.agent_mode, defects=planted)
    serving.run_main(main(settings))


if __name__ == "__main__":
    start()

"""The backend: builds the rooms, opens both ports, and takes everything down in order."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Any

import aiohttp
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from . import config, defects, health, log, provisioning, serving
from .admission import Admission, Limits
from .agents import Agents, ProcessAgents, SharedAgents
from .auth_client import AuthClient
from .fair import Gate
from .gateway import Gateway
from .llm_client import LlmClient
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
        connect_seconds=settings.connect_timeout_ms / 1000,
    )  # fmt: skip


def limits(settings: config.Backend) -> Limits:
    """What one tenant may take."""
    return Limits(
        settings.tenant_rate_per_second,
        settings.tenant_burst,
        settings.tenant_in_flight,
        {
            "database": (settings.database_share * 1000, settings.database_burst_ms),
            "cpu": (settings.cpu_share * 1000, settings.cpu_burst_ms),
        },
    )


async def main(settings: config.Backend) -> None:
    """Run the backend until it is told to stop."""
    pool = Pool(login(settings, "app", settings.app_password), settings.pool_min)
    gate = Gate(settings.pool_max, settings.tenant_connections)
    redis = RedisLink(
        settings.redis_host, settings.redis_port, settings.redis_password,
        connect_seconds=settings.connect_timeout_ms / 1000,
        reply_seconds=settings.store_timeout_ms / 1000,
    )  # fmt: skip
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector) as http:
        states = States(redis, settings.state_ttl_seconds)
        agents: Agents = ProcessAgents() if settings.agent_mode == "process" else SharedAgents()
        llm, auth = LlmClient(settings.llm_url, http), AuthClient(settings.auth_url, http)
        database = Database(pool, gate, settings.store_timeout_ms / 1000)
        rooms = Rooms(states, database, llm, agents, Admission(limits(settings)), {})
        gateway = Gateway(settings, rooms, auth)

        def counters() -> dict[str, Any]:
            tallies = rooms.admission.tallies.items()
            return {
                "pool": pool.counters(), "gate": gate.counters(), "agents": agents.counters(),
                "sockets": gateway.sockets, "in_flight": len(gateway.in_flight),
                "tenants": {t: {"accepted": n.accepted, "refused": n.refused} for t, n in tallies},
            }  # fmt: skip

        probes = {
            "postgres": pool.probe,
            "redis": redis.probe,
            "auth": auth.probe,
            "llm": llm.probe,
        }
        front = Starlette(
            routes=[
                WebSocketRoute("/ws", gateway),
                *health.routes(probes, lambda: gateway.draining),
            ]
        )
        servers = [serving.server(front, 8000)]
        if settings.lab_token:
            admin = provisioning.Provisioning(
                replace(
                    login(settings, "provisioner", settings.provisioner_password),
                    connect_seconds=PROVISIONING_CONNECT_SECONDS,
                ),
                states, settings.lab_token, counters, rooms.admission.forget,
            )  # fmt: skip
            servers.append(serving.server(provisioning.app(admin), 8001))
        warming = asyncio.ensure_future(pool.keep_warm())
        await serving.serve(*servers, drain=gateway.drain)
        warming.cancel()
        await auth.settled()
        redis.close()
        llm.breaker.close()
        pool.close()


def start() -> None:
    """Check the configuration, say which defects are on, and run."""
    settings = config.load_or_exit(config.Backend, os.environ)
    try:
        planted = defects.plant(settings.lab_defects, settings.lab_token)
    except config.SettingsError as error:
        log.line("refused_to_start", reason=str(error))
        raise SystemExit(2) from None
    log.line("starting", mode=settings.agent_mode, defects=",".join(sorted(planted)))
    serving.run_main(main(settings))


if __name__ == "__main__":
    start()

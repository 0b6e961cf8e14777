# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""Settings are checked before anything starts, and a mistake is told in one line."""

from __future__ import annotations

import pytest
from reference_platform import config, defects

KEY = "0123456789abcdef" * 4
GOOD = {"JWT_KEY": KEY, "APP_PASSWORD": "a", "PROVISIONER_PASSWORD": "b", "REDIS_PASSWORD": "c"}


def test_defaults_fill_what_is_not_set() -> None:
    settings = config.load(config.Backend, GOOD)
    assert (settings.pool_min, settings.pool_max, settings.agent_mode) == (5, 20, "process")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"JWT_KEY": ""}, "JWT_KEY is required"),
        ({"JWT_KEY": "secret"}, "at least 32 random bytes"),
        ({"JWT_KEY": "0" * 64}, "not random"),
        ({"POOL_MAX": "many"}, "POOL_MAX must be a number"),
        ({"POSTGRES_PORT": "70000"}, "POSTGRES_PORT must be a port"),
        ({"STORE_TIMEOUT_MS": "0"}, "must be above 0"),
        ({"AUTH_URL": "auth:8081"}, "AUTH_URL must be an http address"),
        ({"SOCKETS_MAX": "0"}, "must be above 0"),
        ({"POOL_MAX": "3"}, "min <= max"),
        ({"AGENT_MODE": "magic"}, "AGENT_MODE"),
        ({"STATE_TTL_SECONDS": "-1"}, "must not be negative"),
        ({"TENANT_QUOTAS": '{"burst": -1}'}, "TENANT_QUOTAS: Expected `float` > 0"),
    ],
)
def test_a_wrong_variable_is_named(change: dict[str, str], told: str) -> None:
    with pytest.raises(config.SettingsError, match=told) as error:
        config.load(config.Backend, {**GOOD, **change})
    assert "\n" not in str(error.value)


def test_defects_need_the_labs_token_and_a_known_name() -> None:
    with pytest.raises(config.SettingsError, match="without LAB_TOKEN"):
        defects.plant("shared_pool", "")
    with pytest.raises(config.SettingsError, match="unknown defects: nonsense"):
        defects.plant("shared_pool,nonsense", "token")
    assert not defects.planted("shared_pool")


def test_every_defect_says_what_it_is_and_who_must_catch_it() -> None:
    for entry in defects.known().values():
        assert entry.keys() - {"at_start"} == {"summary", "requirement", "verifier", "severity"}


@pytest.mark.parametrize("seconds", ["0", "7200"])
def test_a_token_lives_for_an_hour_at_most(seconds: str) -> None:
    good = {"JWT_KEY": KEY, "AUTH_PASSWORD": "a", "TOKEN_SECONDS": seconds}
    with pytest.raises(config.SettingsError, match="TOKEN_SECONDS must be from 1 to 3600"):
        config.load(config.Auth, good)

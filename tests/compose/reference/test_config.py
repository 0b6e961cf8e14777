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
        ({"POOL_MAX": "3"}, "min <= max"),
        ({"AGENT_MODE": "magic"}, "AGENT_MODE"),
        ({"TENANT_BURST": "-1"}, "must not be negative"),
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
        assert entry.keys() == {"summary", "requirement", "verifier", "severity"}

"""Every planted defect shows when it is on, and none shows on a sound stack."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Generator

import pytest

from lab.actions import Read
from lab.stack.file import load

from .certificates import Probe, certificates
from .levers import call
from .stacks import SYSTEM, Held, Running, ask, eventually, held, run_once

DEFECTS = load(SYSTEM).defects
AT_START = [name for name, defect in DEFECTS.items() if defect.at_start]
AT_RUN_TIME = [name for name, defect in DEFECTS.items() if not defect.at_start]


@pytest.fixture(scope="module")
def sound() -> Generator[Held]:
    with held() as stack:
        yield stack


def test_every_defect_has_exactly_one_certificate_and_every_certificate_a_defect() -> None:
    assert certificates().keys() == DEFECTS.keys()


@pytest.mark.docker
@pytest.mark.parametrize("name", AT_RUN_TIME)
def test_a_defect_shows_while_it_is_on_and_only_then(sound: Held, name: str) -> None:
    probe = certificates()[name]

    async def body(running: Running) -> tuple[str, str]:
        before = await probe(running)
        await running.close()
        async with running.plant([name]):
            return before, await probe(running)

    before, evidence = sound.do(body)
    assert before == "", f"{name} is off and shows: {before}"
    assert evidence, f"{name} is on and does not show: {_does(probe)}"


@pytest.mark.docker
@pytest.mark.parametrize("name", AT_START)
def test_a_defect_of_the_start_shows_on_a_stack_that_has_it_and_not_on_a_sound_one(
    sound: Held, name: str
) -> None:
    probe = certificates()[name]
    assert sound.do(probe) == "", f"{name} is off and shows"
    with held(defects=(name,)) as planted:
        assert planted.do(probe), f"{name} is on and does not show: {_does(probe)}"


@pytest.mark.docker
@pytest.mark.parametrize("name", ["connection_leak", "idle_after_cancel"])
def test_what_a_defect_kept_is_given_back_when_it_is_off(sound: Held, name: str) -> None:
    async def body(running: Running) -> None:
        async with running.plant([name]):
            assert await certificates()[name](running)
        _, session = await running.session()

        async def given_back() -> bool:
            assert await ask(session, Read("k"), f"r{next(numbers)}") == "None"
            return (await call(running, "admin", "GET", "/counters", None))["pool"]["taken"] == 0

        numbers = itertools.count()
        await eventually(given_back)

    sound.do(body)


@pytest.mark.docker
def test_the_switch_is_for_the_lab_and_for_known_defects_only(sound: Held) -> None:
    async def body(running: Running) -> None:
        for names, told in ((["nonsense"], "unknown defects: nonsense"), (AT_START[:1], "only a")):
            if names:
                with pytest.raises(AssertionError, match=told):
                    await running.plant(names).__aenter__()

    sound.do(body)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"JWT_KEY": "weak"}, "JWT_KEY must be at least 32 random bytes"),
        ({"LAB_DEFECTS": "nonsense", "LAB_TOKEN": "t"}, "unknown defects: nonsense"),
        ({"LAB_DEFECTS": "shared_pool"}, "without LAB_TOKEN"),
    ],
)
def test_a_backend_that_is_configured_wrongly_refuses_to_start_in_one_line(
    variables: dict[str, str], told: str
) -> None:
    good = dict.fromkeys(("APP_PASSWORD", "PROVISIONER_PASSWORD", "REDIS_PASSWORD"), "secret")
    code, output = run_once({**good, "JWT_KEY": secrets.token_hex(32), **variables})
    assert code == 2
    assert told in output
    assert output.count("\n") == 1


def _does(probe: Probe) -> str:
    return (probe.__doc__ or probe.__name__).strip()

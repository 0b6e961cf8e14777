"""Every planted defect shows when it is on, and none shows on a sound stack."""

from __future__ import annotations

import secrets
from collections.abc import Generator

import pytest

from lab.stack.file import load

from .certificates import CERTIFICATES
from .stacks import SYSTEM, Held, held, run_once

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def sound() -> Generator[Held]:
    with held() as stack:
        yield stack


def test_every_defect_of_the_catalogue_has_a_certificate() -> None:
    assert CERTIFICATES.keys() == load(SYSTEM).defects.keys()


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_defect_that_is_off_does_not_show(sound: Held, name: str) -> None:
    assert not sound.do(CERTIFICATES[name])


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_defect_that_is_on_shows(name: str) -> None:
    with held(defects=(name,)) as planted:
        assert planted.do(CERTIFICATES[name])


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

"""A container's limits, between the lab's words and the engine's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.engine.limits import (
    NO_MEMORY_LIMIT,
    declared_in,
    label_of,
    limits_of,
    update_of,
)
from lab.errors import LabError
from lab.hands import Limits, Resource

NONE = Limits()
CORES = st.integers(1, 6400).map(lambda hundredths: hundredths / 100)


@given(CORES | st.just(0.0), st.integers(0, 2**50), st.integers(0, 2**22))
def test_a_container_remembers_what_was_declared(cores: float, memory: int, pids: int) -> None:
    label = label_of(cores=cores, memory_bytes=memory, pids=pids)
    assert declared_in(label) == Limits(cores, memory, pids)


@pytest.mark.parametrize("labels", [{}, {"crosstalk.limits": "?"}, {"crosstalk.limits": "[1]"}])
def test_a_container_that_does_not_tell_its_limits_is_not_limited(labels: dict[str, str]) -> None:
    with pytest.raises(LabError, match="does not tell"):
        declared_in(labels)


@given(CORES, st.sampled_from([NONE, Limits(cores=2.0)]))
def test_a_quota_is_read_back_as_it_was_asked_for(cores: float, declared: Limits) -> None:
    seen = limits_of(update_of("cores", cores, declared))
    assert seen.cores == pytest.approx(cores)


@given(st.integers(6 * 2**20, 2**50))
def test_memory_is_read_back_and_has_no_swap_beside_it(amount: int) -> None:
    body = update_of("memory_bytes", amount, NONE)
    assert limits_of(body).memory_bytes == body["MemorySwap"] == amount


def test_declared_memory_gets_the_engines_own_swap_back() -> None:
    body = update_of("memory_bytes", 64, Limits(memory_bytes=64))
    assert body == {"Memory": 64, "MemorySwap": 128}


@pytest.mark.parametrize("resource", ["cores", "memory_bytes", "pids"])
def test_no_limit_is_read_back_as_none(resource: Resource) -> None:
    assert limits_of(update_of(resource, 0, NONE)) == NONE


def test_an_engine_that_has_never_been_told_anything_has_no_limits() -> None:
    assert limits_of({"PidsLimit": None, "Memory": 0, "NanoCpus": 0}) == NONE
    assert limits_of({"Memory": NO_MEMORY_LIMIT}) == NONE

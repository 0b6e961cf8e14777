"""What a container may use, in the lab's words and in the engine's. Pure.

A container carries its declared limits in a label, written when it is created and never changed: a
heal in any process, also after the lab that injected was killed, reads there what to put back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from lab.engine.labels import packed, unpacked
from lab.hands.containers import Limits, Resource

LIMITS = "crosstalk.limits"
"""The label."""

NO_MEMORY_LIMIT = 0x7FFF_FFFF_FFFF_F000
"""The kernel's own figure for none (PAGE_COUNTER_MAX). The engine takes a 0 for `leave it`."""

_PERIOD_US = 100_000
"""The kernel's default period of a CPU quota."""


def label_of(*, cores: float, memory_bytes: int, pids: int) -> dict[str, str]:
    """The label that a container is created with; 0 is no limit."""
    return packed(LIMITS, Limits(cores, memory_bytes, pids))


def declared_in(labels: Mapping[str, str]) -> Limits:
    """What a container was created with. Raises LabError for one without the label."""
    return unpacked(
        LIMITS,
        labels,
        Limits,
        what="the container does not tell what limits it was created with",
        mend="limits are changed only where they can be put back; stand the stack up again",
    )


def limits_of(host_config: Mapping[str, object]) -> Limits:
    """The limits in force, from an inspected container's `HostConfig`."""

    def number(name: str) -> int:
        return cast("int | None", host_config.get(name)) or 0

    cores = number("NanoCpus") / 1e9
    if number("CpuQuota") > 0:
        cores = number("CpuQuota") / (number("CpuPeriod") or _PERIOD_US)
    memory_bytes = number("Memory")
    return Limits(
        cores=cores,
        memory_bytes=0 if memory_bytes >= NO_MEMORY_LIMIT else memory_bytes,
        pids=max(number("PidsLimit"), 0),
    )


def update_of(resource: Resource, amount: float, declared: Limits) -> dict[str, int]:
    """The body of the engine's update call (Engine API 1.41, ContainerUpdate); 0 is no limit.

    A container that was created with whole CPUs takes no quota later, and the other way round. Swap
    goes with memory: none beyond an injected limit, the engine's own default beyond a declared one.
    """
    if resource == "cores":
        if declared.cores:
            return {"NanoCpus": round(amount * 1e9)}
        quota_us = round(amount * _PERIOD_US) or -1
        return {"CpuQuota": quota_us, "CpuPeriod": _PERIOD_US}
    if resource == "pids":
        return {"PidsLimit": int(amount) or -1}
    if not amount:
        # A swap of -1 would say the same, but engine 20.10 drops it, and then the kernel refuses
        # memory beyond the old sum of both.
        return {"Memory": NO_MEMORY_LIMIT, "MemorySwap": NO_MEMORY_LIMIT}
    swap = 2 if amount == declared.memory_bytes else 1
    return {"Memory": int(amount), "MemorySwap": swap * int(amount)}

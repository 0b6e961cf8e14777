"""A fault from words: its fields are the options, and what does not fit is one line."""

from __future__ import annotations

import pytest

from faults.containers import CpuQuota, Kill
from faults.network import Latency
from faults.tenants import CrashAgent
from lab.engine.things import Standing
from lab.errors import UsageError
from lab.fault import Fault
from lab.nemesis.injecting import fault_from, pairs_of, seconds_of
from lab.stack.attached import chosen, names_of

REDIS = {"link": "redis"}


@pytest.mark.parametrize(
    ("kind", "target", "pairs", "fault"),
    [
        ("latency", REDIS, ("delay_ms=50",), Latency("redis", 50)),
        ("latency", REDIS, ("delay_ms=50", "stream=upstream"), Latency("redis", 50, 0, "upstream")),
        ("kill", {"service": "app"}, (), Kill("app")),
        ("cpu_quota", {"service": "app"}, ("cores=1",), CpuQuota("app", 1.0)),
        ("crash_agent", {"tenant": "a"}, (), CrashAgent("a")),
    ],
)
def test_words_become_the_fields_types(
    kind: str, target: dict[str, str], pairs: tuple[str, ...], fault: Fault
) -> None:
    assert fault_from(kind, target, pairs) == fault


@pytest.mark.parametrize(
    ("kind", "target", "pairs", "says"),
    [
        ("latencie", REDIS, (), "did you mean latency"),
        ("latency", REDIS, (), "needs delay_ms"),
        ("latency", {}, ("delay_ms=50",), "--link NAME"),
        ("latency", REDIS, ("delay_ms=50s",), "delay_ms='50s' does not fit"),
        ("latency", REDIS, ("delay_ms=0.5",), "does not fit"),
        ("latency", REDIS, ("delay_ms=0",), "from 1 to 60000"),
        ("latency", REDIS, ("delay_s=1",), "it has link, delay_ms"),
        ("latency", REDIS, ("delay_ms=50", "stream=both"), "does not fit"),
        ("latency", REDIS, ("delay_ms",), "name=value"),
        ("latency", {"service": "app"}, ("delay_ms=50",), "has no 'service'"),
        ("kill", {"service": "app"}, ("signal=SIGSTOP",), "signal is SIGKILL"),
        ("crash_agent", {}, (), "--tenant NAME"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    kind: str, target: dict[str, str], pairs: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UsageError) as refused:
        fault_from(kind, target, pairs)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "pairs"),
    [
        ((), ()),
        (("--delay-ms", "200"), ("delay_ms=200",)),
        (("--delay-ms=200", "--stream", "upstream"), ("delay_ms=200", "stream=upstream")),
        (("--offset-seconds", "-30"), ("offset_seconds=-30",)),
    ],
)
def test_a_faults_fields_are_options(words: tuple[str, ...], pairs: tuple[str, ...]) -> None:
    assert pairs_of("latency", words) == pairs


@pytest.mark.parametrize("words", [("200",), ("-d", "200"), ("--delay-ms",)])
def test_a_word_that_is_no_option_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="latency"):
        pairs_of("latency", words)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("2m", 120.0), ("500ms", 0.5), ("1h", 3600.0), ("0.2", 0.2), ("7", 7.0)],
)
def test_a_time_is_told_with_its_unit_or_in_seconds(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "61m", "2h", "30min", "1d", "s", "1e3"])
def test_a_time_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--for"):
        seconds_of(text)


def box(run: str, *, kept: bool) -> Standing:
    """A container of a run."""
    return Standing(run=run, service="app", id=run, status="up", kept=kept)


def test_only_a_kept_stack_is_taken_hold_of_and_the_newest_without_a_name() -> None:
    boxes = (box("1", kept=True), box("2", kept=True), box("3", kept=False))
    assert [each.run for each in chosen(boxes, "")] == ["2"]
    assert [each.run for each in chosen(boxes, "1")] == ["1"]
    with pytest.raises(UsageError, match="there are: 1, 2"):
        chosen(boxes, "3")
    with pytest.raises(UsageError, match="no stack is kept up"):
        chosen(boxes[2:], "")


def test_a_link_is_known_by_its_own_name_and_by_its_parts() -> None:
    assert names_of(("redis@app", "admin")) == ("admin", "redis", "redis@app")

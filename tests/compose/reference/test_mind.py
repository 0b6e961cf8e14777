# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""What an agent remembers of its conversation, and that its tools keep to what they may use."""

from __future__ import annotations

from pathlib import Path

import pytest
from reference_platform.front import upstreams
from reference_platform.mind import CONTEXT_LENGTH, SAID_MAX, Mind
from reference_platform.tools import TOOLS, Bench


def bench(folder: Path, memory_mb: int = 64, pids: int = 4) -> Bench:
    return Bench(str(folder / "agent"), memory_mb, pids)


def step(mind: Mind, said: str) -> str:
    return str(mind.step({"text": "t", "said": said})["text"])


def test_an_answer_refers_to_what_was_said_before_it(tmp_path: Path) -> None:
    mind = Mind(bench(tmp_path), [])
    assert step(mind, "one") == "t"
    assert step(mind, "two") == "t (after: one)"


def test_a_mind_goes_on_from_the_context_it_is_given(tmp_path: Path) -> None:
    assert step(Mind(bench(tmp_path), ["before"]), "now") == "t (after: before)"


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    context: list[str] = []
    mind = Mind(bench(tmp_path), context)
    for n in range(5 * CONTEXT_LENGTH):
        step(mind, f"{n}" * 1000)
    assert len(context) == CONTEXT_LENGTH
    assert max(map(len, context)) == SAID_MAX


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_gives_everything_back(tmp_path: Path, tool: str) -> None:
    own = bench(tmp_path)
    assert Mind(own, []).step({"text": "t", "tool": tool, "amount_ms": 1})["text"] != "t"
    assert not list(tmp_path.glob("agent/*"))
    assert not own.kept


@pytest.mark.parametrize(
    ("tool", "amount", "error"), [("memory", 65, MemoryError), ("processes", 5, BlockingIOError)]
)
def test_a_tool_that_asks_for_more_than_the_quota_fails_as_the_kernel_would_say(
    tmp_path: Path, tool: str, amount: int, error: type[Exception]
) -> None:
    mind = Mind(bench(tmp_path), [])
    with pytest.raises(error):
        mind.step({"text": "t", "tool": tool, "amount_ms": amount})


def test_the_front_reads_its_list_of_replicas() -> None:
    assert upstreams("one:8000, two:81") == [("one", 8000), ("two", 81)]

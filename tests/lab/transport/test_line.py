"""A line's questions: each ends with its asker, whatever became of it."""

from __future__ import annotations

import asyncio
import gc

import pytest

from lab.transport.line import Line
from lab.transport.socket import ClosedError

pytestmark = pytest.mark.usefixtures("each_loop")


class Shut:
    """A socket that takes nothing any more."""

    closed = ClosedError(1006, "")

    def send(self, message: str | bytes) -> None:
        """Refused."""
        raise ClosedError(1006, "")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """It is."""

    def abort(self) -> None:
        """It is."""


def test_a_question_that_could_not_be_sent_never_times_out_later() -> None:
    complaints: list[object] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
        line: Line[str] = Line(lambda text: (text, text))
        line.socket = Shut()
        with pytest.raises(ClosedError) as caught:
            await line.ask("key", "message", 0.01)
        await asyncio.sleep(0.05)  # past its deadline; `caught` keeps the question's frame alive
        del caught
        gc.collect()

    asyncio.run(run())
    assert complaints == []

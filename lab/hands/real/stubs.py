"""Stubs, told to fail by the commands that the stack file declares for them."""

from __future__ import annotations

from collections.abc import Mapping

from lab.errors import UsageError
from lab.hands.real.holding import Holding
from lab.stack.schema import StubBlock

DEFAULT_STATUS = 503
_STATUS = "{status}"


class RunStubs:
    """The `Stubs` of a running stack: service -> its commands, and the way into it."""

    def __init__(self, stubs: Mapping[str, tuple[StubBlock, Holding]]) -> None:
        self._stubs = stubs

    async def fail(self, service: str, status: int) -> None:
        """See `Stubs`."""
        if service not in self._stubs:
            known = ", ".join(self._stubs) or "none: `x-lab.stubs` declares them"
            raise UsageError(f"`{service}` is no stub", mend=f"stubs: {known}")
        block, holding = self._stubs[service]
        if _STATUS not in block.fail and status != DEFAULT_STATUS:
            mend = f"its `fail` has no `{_STATUS}`"
            raise UsageError(f"`{service}` answers {DEFAULT_STATUS} only", mend=mend)
        await holding.run(block.fail.replace(_STATUS, str(int(status))))

    async def mend(self, service: str) -> None:
        """See `Stubs`; one that does not run has forgotten that it had to fail."""
        if service in self._stubs:
            block, holding = self._stubs[service]
            if await holding.up():
                await holding.run(block.mend)

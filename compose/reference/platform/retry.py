"""A budget for retries, so that they cannot multiply the load on what is already in trouble.

Source: Finagle's RetryBudget; the same 10 % in "Site Reliability Engineering", 2016, chapter 21.
"""

from __future__ import annotations

SHARE, RESERVE = 0.1, 10.0


class RetryBudget:
    """Every call pays in `share` of a retry, up to `reserve`; every retry takes a whole one."""

    def __init__(self, share: float = SHARE, reserve: float = RESERVE) -> None:
        self._share, self._reserve = share, reserve
        self._saved = 0.0
        self.calls = self.retries = self.denied = 0

    def called(self) -> None:
        """A first attempt is made."""
        self.calls += 1
        self._saved = min(self._reserve, self._saved + self._share)

    def may_retry(self) -> bool:
        """Take one retry, if there is one; at most `share` of all calls ever get it."""
        if self._saved < 1.0 - 1e-9:  # ten times a tenth is a whole one
            self.denied += 1
            return False
        self._saved -= 1.0
        self.retries += 1
        return True

    def counters(self) -> dict[str, int]:
        """For the admin port: first attempts, retries, and retries there was no budget for."""
        return {"calls": self.calls, "retries": self.retries, "denied": self.denied}

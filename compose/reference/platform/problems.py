"""The one exception by which a room says no: its code, and whether nothing happened for sure."""

from __future__ import annotations


class Problem(Exception):  # noqa: N818 - it is an answer to a client, not a bug
    """What a client is told instead of an answer.

    code: one of the codes below; definite: the action certainly did not happen;
    retry_after_ms: when asking again makes sense (0: unknown).

    Codes, definite unless said otherwise:
      bad_message bad_action wrong_tenant unknown_thread duplicate_message   the message itself
      rate_limited too_many_in_flight over_budget queue_full draining        admission
      insufficient_credits version_conflict tool_failed                      the action
      agent_crashed agent_unavailable                                        the tenant's agent (*)
      postgres_unavailable redis_unavailable llm_unavailable                 a dependency (*)
      deadline                                                               too late (*)
    (*) definite only when the action had not begun to write.
    """

    def __init__(self, code: str, *, definite: bool = True, retry_after_ms: int = 0) -> None:
        super().__init__(code)
        self.code, self.definite, self.retry_after_ms = code, definite, retry_after_ms

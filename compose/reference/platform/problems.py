"""The one exception by which a room says no, and every code that a client can be told.

A code is told in an error message on the socket, in the body `{"error": code}` of an HTTP answer,
or as the number with which a socket closes. `tests` hold the code to these tables.
"""

from __future__ import annotations

from dataclasses import dataclass


class Problem(Exception):  # noqa: N818 - it is an answer to a client, not a bug
    """What a client is told instead of an answer.

    code: one of CODES; definite: the action certainly did not happen;
    retry_after_ms: when asking again makes sense (0: unknown); detail: for the operator's ports.
    """

    def __init__(
        self, code: str, *, definite: bool = True, retry_after_ms: int = 0, detail: str = ""
    ) -> None:
        super().__init__(code)
        self.code, self.definite, self.retry_after_ms = code, definite, retry_after_ms
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code says. definite: nothing happened, always; else only where the error says so."""

    text: str
    definite: bool = True
    status: int = 400  # of the HTTP answer, where the code is told over HTTP


CODES = {
    # the message itself
    "bad_message": Meaning("not a message of the documented form, or too deeply nested"),
    "bad_action": Meaning("an action with an impossible parameter"),
    "wrong_tenant": Meaning(
        "the message speaks for another tenant or user; it is audited", True, 403
    ),
    "unknown_thread": Meaning("the tenant has no such thread", True, 404),
    "unknown_tenant": Meaning("no such tenant", True, 404),
    "duplicate_message": Meaning("another message had this message_id", True, 409),
    "bad_token": Meaning("a renewal with a token that is not this session's next one", True, 401),
    # admission
    "rate_limited": Meaning("too many messages in too short a time", True, 429),
    "too_many_in_flight": Meaning("too many of the tenant's messages are unfinished", True, 429),
    "over_budget": Meaning("the tenant's share of this kind of work is used up", True, 429),
    "queue_full": Meaning("too much of the tenant waits for the database", True, 429),
    "draining": Meaning("this server is about to stop; another one takes over", True, 503),
    # the action
    "insufficient_credits": Meaning("the balance is smaller than the amount", True, 409),
    "version_conflict": Meaning("the configuration is at another version", True, 409),
    "resource_exhausted": Meaning("no unit of the resource is free", True, 409),
    "contended": Meaning("too many others changed the same thing at once", False, 409),
    "tool_failed": Meaning("the tool ended with an error", False, 500),
    "foreign_state": Meaning("the stored state is not this tenant's; it was not used", True, 500),
    "agent_crashed": Meaning("the agent died while it had the message", False, 503),
    "agent_unavailable": Meaning("no agent could be started", True, 503),
    "deadline": Meaning("no answer in time", False, 504),
    "internal": Meaning("a mistake of the platform, which is in its log", False, 500),
    # dependencies
    "postgres_unavailable": Meaning("Postgres does not answer", False, 503),
    "redis_unavailable": Meaning("Redis does not answer", False, 503),
    "llm_unavailable": Meaning("the model does not answer", False, 503),
    "auth_unavailable": Meaning("the auth service does not answer; open sockets go on", True, 503),
    # the door
    "unauthorised": Meaning("no token, or one that is not good, or its session is over", True, 401),
    "foreign_origin": Meaning("a browser from an origin that is not allowed", True, 403),
    "too_many_sockets": Meaning("the tenant has as many sockets as it may", True, 429),
    "platform_full": Meaning("the platform has as many sockets as it can serve", True, 503),
    # HTTP
    "bad_request": Meaning("the body is not of the documented form"),
    "too_large": Meaning("the body, or what the agent has to read or say, is too large", True, 413),
    "wrong_credentials": Meaning("no active user has this address and password", True, 401),
    "forbidden": Meaning("for the operator only", True, 403),
    "exists_already": Meaning("one of these tenants or addresses exists", True, 409),
}
"""Every code and its meaning."""

BINARY, NOT_TEXT, TOO_LARGE, GOING, EXPIRED, REVOKED = 1003, 1007, 1009, 1012, 4401, 4403
CLOSE_CODES = {
    BINARY: "a binary frame: messages are text",
    NOT_TEXT: "a text frame that is not UTF-8",
    TOO_LARGE: "a frame of more than 64 KiB",
    GOING: "the server is stopping; connect again",
    EXPIRED: "the token has expired, leeway included, and was not renewed",
    REVOKED: "the session was closed or its user deactivated",
}
"""How a socket ends, besides 1000 and 1001."""

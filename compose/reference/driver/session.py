"""One tenant's socket, and the platform's words for the lab's actions.

Many messages are in flight on it and are told apart by `message_id`, which is the lab's own id of
the operation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from aiohttp import ClientError

from lab.actions import Action, Claim, Edit, List, Raw, Read, Spend, Work, Write
from lab.system import Refused, Reply
from lab.transport import Line

USER, THREAD, NOBODY = "user", "main", ""
ANSWER_SHARE = 0.9
"""The share of the lab's deadline that the platform is given; the rest is for the way back."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
Answer = tuple[str, dict[str, Any]]
RENEW_SHARE, AGAIN_SECONDS = 0.7, 2.0
"""After which share of its life a token is renewed; the pause before another try."""


class Token(NamedTuple):
    """A token, and when it expires (Unix seconds)."""

    text: str
    expires: float


Renew = Callable[[Token], Awaitable[Token]]


class UnknownOutcomeError(RuntimeError):
    """The platform answered with an error and does not know whether the action happened."""


def request(action: Action) -> dict[str, object]:
    """The action in the platform's words. Raises TypeError for one that it does not have."""
    match action:
        case Write(key, value):
            return {"kind": "write", "key": key, "value": value}
        case Read(key):
            return {"kind": "read", "key": key}
        case List():
            return {"kind": "list"}
        case Work(work, amount_ms):
            return {"kind": "work", "work": work, "amount_ms": amount_ms}
        case Spend(amount):
            return {"kind": "spend", "amount": amount}
        case Edit(name, version):
            return {"kind": "edit", "name": name, "version": version}
        case Claim(resource):
            return {"kind": "claim", "resource": resource}
        case _:
            raise TypeError(f"no message for {action}")


def content(action: Action) -> str:
    """What a person would say; the stub model echoes it, so that mixed-up answers show."""
    match action:
        case Write(key, value):
            return f"remember {key}: {value}"
        case Read(key):
            return f"recall {key}"
        case _:
            return type(action).__name__.lower()


def addressed(raw: str) -> tuple[str, Answer]:
    """Whose answer a message is, and the message as text and as values."""
    reply = _decode(raw)
    return reply.get("message_id") or NOBODY, (raw, reply)


class WebSocketSession:
    """See `lab.system.Session`. Its token is renewed for as long as it is open."""

    def __init__(self, line: Line[Answer], tenant: str, token: Token, renew: Renew) -> None:
        self._line, self._tenant = line, tenant
        self._renewer = asyncio.create_task(self._renewed(token, renew))

    async def perform(self, action: Action, *, op: str, deadline_seconds: float) -> Reply:
        """Send one message and wait for its one answer."""
        if isinstance(action, Raw):
            return await self._thrown(action.payload, deadline_seconds)
        raw, reply = await self._asked(request(action), content(action), op, deadline_seconds)
        return Reply(reply["value"], raw)

    async def outcome(self, op: str, deadline_seconds: float) -> bool:
        """Whether the message `op` was done; when not, it never will be."""
        asked: dict[str, object] = {"kind": "outcome", "of": op}
        _, reply = await self._asked(asked, "outcome", f"{op}/outcome", deadline_seconds)
        return str(reply["value"]).startswith("done")

    def overheard(self) -> Sequence[str]:
        """Answers that nobody waited for, and the bodies of errors."""
        return self._line.overheard()

    async def close(self) -> None:
        """Close the socket and wait for the other side, within its short limit."""
        self._renewer.cancel()
        await self._line.close()

    def abort(self) -> None:
        """Reset the connection."""
        self._renewer.cancel()
        self._line.abort()

    async def _asked(
        self, action: dict[str, object], text: str, op: str, deadline_seconds: float
    ) -> Answer:
        """One message and its answer. Raises as `perform` has to."""
        message = {
            "type": "user_message",
            "content": text,
            "thread_id": THREAD,
            "user_id": USER,
            "metadata": {
                "tenant_id": self._tenant,
                "message_id": op,
                "action": action,
                "deadline_ms": int(deadline_seconds * 1000 * ANSWER_SHARE),
            },
        }
        raw, reply = await self._line.ask(op, _encode(message).decode(), deadline_seconds)
        if reply["type"] == "error":
            self._line.hear(raw)
            kind = Refused if reply["definite"] else UnknownOutcomeError
            raise kind(reply["code"])
        return raw, reply

    async def _thrown(self, payload: bytes, deadline_seconds: float) -> Reply:
        """Send bytes as they are; an answer to nobody, or the socket's end, is theirs."""
        try:
            message: str | bytes = payload.decode()
        except UnicodeDecodeError:
            message = payload
        raw, reply = await self._line.ask(NOBODY, message, deadline_seconds)
        self._line.hear(raw)
        raise Refused(reply.get("code", reply["type"]))

    async def _renewed(self, token: Token, renew: Renew) -> None:
        """Fetch the next token in good time, and show it on the socket; the answer is overheard.

        When auth does not answer there is another try; the platform closes what gets too old.
        """
        while self._line.closed is None:
            await asyncio.sleep(max(AGAIN_SECONDS, (token.expires - time.time()) * RENEW_SHARE))
            try:
                token = await renew(token)
                self._line.tell(_encode({"type": "renew", "token": token.text}).decode())
            except (Refused, OSError, TimeoutError, ClientError):
                continue

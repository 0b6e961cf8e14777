"""What goes over the socket: strict schemas in, one answer or one error out."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from .problems import Problem

Id = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,40}$")]
MessageId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:/#@-]{1,128}$")]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Value = Annotated[str, msgspec.Meta(max_length=8192)]
AmountMs = Annotated[int, msgspec.Meta(ge=0, le=5000)]
WORK = ("query", "cpu", "memory", "files", "shell", "processes")


class Write(msgspec.Struct, frozen=True, tag="write", tag_field="kind", forbid_unknown_fields=True):
    """Store a value under a key."""

    key: Key
    value: Value


class Read(msgspec.Struct, frozen=True, tag="read", tag_field="kind", forbid_unknown_fields=True):
    """Read a key back."""

    key: Key


class List(msgspec.Struct, frozen=True, tag="list", tag_field="kind", forbid_unknown_fields=True):
    """The tenant's latest messages."""


class Work(msgspec.Struct, frozen=True, tag="work", tag_field="kind", forbid_unknown_fields=True):
    """Work of one kind, which would take amount_ms alone."""

    work: str
    amount_ms: AmountMs


class Spend(msgspec.Struct, frozen=True, tag="spend", tag_field="kind", forbid_unknown_fields=True):
    """Take credits, once per message."""

    amount: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Edit(msgspec.Struct, frozen=True, tag="edit", tag_field="kind", forbid_unknown_fields=True):
    """Change a configuration that is expected to be at a version."""

    name: Id
    version: Annotated[int, msgspec.Meta(ge=0)]


class Claim(msgspec.Struct, frozen=True, tag="claim", tag_field="kind", forbid_unknown_fields=True):
    """Claim one unit of a limited resource, for as long as the socket lives."""

    resource: Id


class Begin(
    msgspec.Struct, frozen=True, tag="thread", tag_field="kind", forbid_unknown_fields=True
):
    """Make the thread that the message names."""


class History(
    msgspec.Struct, frozen=True, tag="history", tag_field="kind", forbid_unknown_fields=True
):
    """The latest messages of the thread that the message names."""


class Report(
    msgspec.Struct, frozen=True, tag="report", tag_field="kind", forbid_unknown_fields=True
):
    """What the tenant has, in numbers."""


class Say(msgspec.Struct, frozen=True, tag="say", tag_field="kind", forbid_unknown_fields=True):
    """A plain message without an action: it is kept and answered."""


class Outcome(
    msgspec.Struct, frozen=True, tag="outcome", tag_field="kind", forbid_unknown_fields=True
):
    """What became of another message; when nothing did, nothing ever will."""

    of: MessageId


Action = (
    Write | Read | List | Work | Spend | Edit | Claim | Begin | History | Report | Outcome | Say
)


class Metadata(msgspec.Struct, frozen=True):
    """What comes along; tenant_id is checked against the token, never believed."""

    tenant_id: str
    message_id: MessageId
    action: Action = Say()
    deadline_ms: int = 0


class UserMessage(msgspec.Struct, frozen=True, tag="user_message"):
    """What a client asks of its agent."""

    content: Annotated[str, msgspec.Meta(max_length=16384)]
    thread_id: Id
    user_id: str
    metadata: Metadata


class Renew(msgspec.Struct, frozen=True, tag="renew", forbid_unknown_fields=True):
    """The session's next token, so that the socket may stay open."""

    token: Annotated[str, msgspec.Meta(max_length=4096)]
    message_id: MessageId | None = None


_decode = msgspec.json.Decoder(UserMessage | Renew).decode
_encode = msgspec.json.Encoder().encode
_MESSAGE_ID = re.compile(r'"message_id"\s*:\s*"([A-Za-z0-9_.:/#@-]{1,128})"')


def parse(text: str) -> UserMessage | Renew:
    """Decode and check. Raises Problem (`bad_message`, `bad_action`), never anything else."""
    try:
        message = _decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        raise Problem("bad_message") from None
    if isinstance(message, Renew):
        return message
    action = message.metadata.action
    if isinstance(action, Work) and action.work not in WORK:
        raise Problem("bad_action")
    return message


def message_id_of(text: str) -> str | None:
    """The message's id without decoding the message: all that a cheap refusal needs."""
    found = _MESSAGE_ID.search(text)
    return found.group(1) if found else None


def answer(message: UserMessage, tenant: str, text: str, value: str | None) -> str:
    """The one answer to a message."""
    return _encode(
        {
            "type": "agent_message",
            "message_id": message.metadata.message_id,
            "thread_id": message.thread_id,
            "user_id": message.user_id,
            "content": text,
            "value": value,
            "metadata": {"tenant_id": tenant},
        }
    ).decode()


def renewed(message_id: str | None, expires: int) -> str:
    """The answer to a renewal: until when (Unix seconds) the token is good."""
    told = {"type": "renewed", "message_id": message_id, "expires": expires}
    return _encode(told).decode()


def error(message_id: str | None, problem: Problem) -> str:
    """The error instead of an answer; ids and codes need no escaping, so this is one format."""
    name = f'"{message_id}"' if message_id else "null"
    definite = "true" if problem.definite else "false"
    return (
        f'{{"type":"error","message_id":{name},"code":"{problem.code}",'
        f'"definite":{definite},"retry_after_ms":{problem.retry_after_ms}}}'
    )

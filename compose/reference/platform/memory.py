"""What an agent remembers, and how it is packed for Redis: `<version> <owner> <json>`."""

from __future__ import annotations

import msgspec

from .problems import Problem

MEMORY_KEYS, HISTORY_LENGTH = 64, 10


class State(msgspec.Struct):
    """What an agent remembers: key -> (number of its row, value), and its latest messages."""

    memory: dict[str, tuple[int, str]] = {}
    history: list[str] = []
    preferences: dict[str, str] = {}
    version: int = 0


_decode = msgspec.json.Decoder(State).decode
_encode = msgspec.json.Encoder().encode


def key_of(tenant: str, user: str) -> str:
    """The only place where a key is built; ids have no delimiter and no glob in them."""
    return f"agent_state:{tenant}.{user}"


def merge(state: State, *, key: str, value: str, seq: int, note: str) -> None:
    """Apply a write: the higher row wins, the oldest keys and notes make room."""
    known = state.memory.pop(key, None)
    state.memory[key] = max(known, (seq, value)) if known else (seq, value)
    while len(state.memory) > MEMORY_KEYS:
        del state.memory[next(iter(state.memory))]
    state.history = [*state.history, note][-HISTORY_LENGTH:]


def packed(state: State, owner: str) -> bytes:
    """The value to store: the next version, the owner, the document."""
    state.version += 1
    return b"%d %s %s" % (state.version, owner.encode(), _encode(state))


def unpacked(value: object, owner: str) -> State:
    """The document of a stored value. A foreign owner tag is a stop, never an answer."""
    if value is None:
        return State()
    if not isinstance(value, bytes):
        raise TypeError(f"not a state: {type(value).__name__}")
    version, tag, document = value.split(b" ", 2)
    if tag.decode() != owner:
        raise Problem("redis_unavailable")
    state = _decode(document)
    state.version = int(version)
    return state

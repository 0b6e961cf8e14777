"""What an agent remembers, and how it is packed for Redis: `<epoch> <version> <owner> <json>`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from .defects import planted
from .problems import Problem

MEMORY_KEYS, PREFERENCE_KEYS, HISTORY_LENGTH = 64, 16, 10
MEMORY_CHARACTERS, NOTE_CHARACTERS = 32_768, 200
PREFERENCE = "preference/"
"""A key that begins so is a preference of the user."""
Entries = dict[str, tuple[int, str]]


class State(msgspec.Struct):
    """What an agent remembers: key -> (number of its row, value), and what was said last,
    in the order of the rows.

    epoch: which life of the document this is; a new one begins whenever Redis has lost it, and
    Postgres gives the number out. version: how often it was written in this life; 0 is never.
    """

    memory: Entries = {}
    preferences: Entries = {}
    history: list[tuple[int, str]] = []
    epoch: int = 0
    version: int = 0

    @property
    def stamp(self) -> bytes:
        """What the stored document has to begin with for this one to follow it."""
        return b"%d %d" % (self.epoch, self.version) if self.version else b""


class Document(msgspec.Struct):
    """What is stored of a state."""

    memory: Entries
    preferences: Entries
    history: list[tuple[int, str]]


_decode = msgspec.json.Decoder(Document).decode
_encode = msgspec.json.Encoder().encode


def owner_of(tenant: str, user: str) -> str:
    """Whose state; ids have no dot, no other delimiter and no glob in them."""
    if planted("state_key_without_tenant"):
        return user
    if planted("state_key_without_delimiter"):
        return tenant + user
    return f"{tenant}.{user}"


def key_of(owner: str) -> str:
    """The only place where a key is built."""
    return f"agent_state:{owner}"


def rebuilt(epoch: int, rows: Iterable[tuple[int, str | None, str]]) -> State:
    """The state as the latest rows (number, key, content), in any order, tell it."""
    state = State({}, {}, [], epoch)
    for seq, key, content in sorted(rows, key=lambda row: row[0]):
        merge(state, key=key, value=content, seq=seq)
    return state


def merge(state: State, *, key: str | None, value: str, seq: int) -> None:
    """Apply a row: the higher number wins, the oldest keys and notes make room.

    A row without a key was only said.
    """
    said = dict(state.history) | {seq: value[:NOTE_CHARACTERS]}
    state.history = sorted(said.items())[-HISTORY_LENGTH:]
    if key is None:
        return
    preference = key.startswith(PREFERENCE)
    entries = state.preferences if preference else state.memory
    known = entries.pop(key, None)
    entries[key] = max(known, (seq, value)) if known else (seq, value)
    if not planted("memory_unbounded"):
        _make_room(entries, PREFERENCE_KEYS if preference else MEMORY_KEYS)


def packed(state: State, owner: str) -> bytes:
    """The value to store: the epoch, the next version, the owner, the document."""
    document = _encode(Document(state.memory, state.preferences, state.history))
    return b"%d %d %s %s" % (state.epoch, state.version + 1, owner.encode(), document)


def unpacked(value: bytes, owner: str) -> State:
    """The state of a stored value. A foreign owner tag is a stop, never an answer: Problem."""
    epoch, version, tag, document = value.split(b" ", 3)
    if tag.decode() != owner and not planted("owner_tag_unchecked"):
        raise Problem("foreign_state")
    found = _decode(document)
    return State(found.memory, found.preferences, found.history, int(epoch), int(version))


def _make_room(entries: Entries, keys_max: int) -> None:
    characters = sum(len(key) + len(value) for key, (_, value) in entries.items())
    while len(entries) > keys_max or characters > MEMORY_CHARACTERS:
        oldest = next(iter(entries))
        characters -= len(oldest) + len(entries.pop(oldest)[1])

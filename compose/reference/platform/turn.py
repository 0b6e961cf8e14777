"""One message of one tenant on its way to the answer, and everything such a turn needs."""

from __future__ import annotations

from dataclasses import dataclass

from .admission import Admission, Tally
from .agents import Agents
from .claims import Claims
from .llm_client import LlmClient
from .messages import UserMessage
from .outbox import Relay
from .state import States
from .tenant_tx import Database


@dataclass(frozen=True, slots=True)
class Rooms:
    """Everything a turn needs; made once."""

    states: States
    database: Database
    llm: LlmClient
    agents: Agents
    admission: Admission
    claims: Claims
    relay: Relay
    cache: dict[tuple[str, ...], tuple[str, str | None]]


@dataclass(slots=True)
class Turn:
    """One message of one tenant; `tenant`, `user` and `holder` (the session) are the token's."""

    rooms: Rooms
    tenant: str
    user: str
    holder: str
    tally: Tally
    message: UserMessage
    until: float  # loop time by which the answer must be out
    writing: bool = False  # from here on a failure leaves the outcome unknown

    @property
    def database(self) -> Database:
        """The way to the tenant's rows."""
        return self.rooms.database

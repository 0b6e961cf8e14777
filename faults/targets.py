"""Whom faults are on: their first field, and how they name it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OnService:
    """A fault on one service; `service` is its name in the stack file."""

    service: str

    @property
    def target(self) -> str:
        """The service that is hit."""
        return f"service {self.service}"


@dataclass(frozen=True, slots=True)
class OnLink:
    """A fault on one link; `link` is its name in the stack file."""

    link: str

    @property
    def target(self) -> str:
        """The link that is hit."""
        return f"link {self.link}"

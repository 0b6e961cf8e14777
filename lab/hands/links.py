"""The proxied edges of a running stack: toxics on them, and whether they let anybody in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Toxic:
    """A toxic on a link, in Toxiproxy's words: `upstream` is the stream to the server."""

    name: str
    type: str
    stream: str
    attributes: Mapping[str, int]


class Links(Protocol):
    """The proxied edges of a running stack; every write is read back before it counts."""

    async def add(self, link: str, toxic: Toxic) -> None:
        """Put a toxic on a link. Raises LabError when it does not show up in the read-back."""
        ...

    async def remove(self, link: str, toxic_name: str) -> None:
        """Take a toxic off; one that is not there is fine."""
        ...

    async def enable(self, link: str, enabled: bool) -> None:
        """Refuse (False) or accept (True) connections; disabling closes the open ones."""
        ...

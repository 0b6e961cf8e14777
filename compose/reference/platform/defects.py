"""Which planted defects are on. None is, unless the lab's token is present and names are given."""

from __future__ import annotations

import tomllib
from pathlib import Path

from .config import SettingsError

CATALOGUE = Path(__file__).with_name("defects.toml")

_on: frozenset[str] = frozenset()


def known() -> dict[str, dict[str, str]]:
    """The catalogue: id -> summary, requirement, verifier, severity."""
    return tomllib.loads(CATALOGUE.read_text())


def plant(names: str, token: str) -> frozenset[str]:
    """Switch on the defects of a comma list. Raises SettingsError for unknown names or no token."""
    global _on
    wanted = frozenset(filter(None, (name.strip() for name in names.split(","))))
    if wanted and not token:
        raise SettingsError("LAB_DEFECTS is set without LAB_TOKEN: defects are for the lab only")
    if unknown := sorted(wanted - known().keys()):
        raise SettingsError(f"LAB_DEFECTS names unknown defects: {', '.join(unknown)}")
    _on = wanted
    return wanted


def planted(name: str) -> bool:
    """Whether this defect is on."""
    return name in _on

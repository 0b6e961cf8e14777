"""Which planted defects are on. None is, unless the lab's token is present and names are given.

LAB_DEFECTS plants from the start; `switch.py` replaces the set at run time.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from . import log
from .config import SettingsError

CATALOGUE = Path(__file__).with_name("defects.toml")

_on: frozenset[str] = frozenset()


def known() -> dict[str, dict[str, Any]]:
    """The catalogue: id -> summary, requirement, verifier, severity, maybe at_start."""
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


def replant(names: frozenset[str], token: str) -> frozenset[str]:
    """Replace the set that is on, at run time. Raises SettingsError as `plant` does, and for one
    that only a start plants or removes."""
    catalogue = known()
    if fixed := sorted(n for n in names ^ _on if catalogue.get(n, {}).get("at_start")):
        raise SettingsError(f"only a start plants or removes {', '.join(fixed)}")
    return plant(",".join(names), token)


def plant_or_exit(names: str, token: str) -> str:
    """As `plant`, as a service starts; a mistake is told in one line and ends the process with 2.

    Returns the planted names, sorted, for the log.
    """
    try:
        return ",".join(sorted(plant(names, token)))
    except SettingsError as error:
        log.line("refused_to_start", reason=str(error))
        raise SystemExit(2) from None


def planted(name: str) -> bool:
    """Whether this defect is on."""
    return name in _on

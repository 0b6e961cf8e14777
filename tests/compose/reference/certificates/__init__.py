"""A certificate for every planted defect: the smallest direct probe that tells whether it is live.

A probe returns its evidence in a few words, "" when the defect does not show, and raises when it
cannot tell. On a sound stack every probe returns "", leaves no trace, and may run again at once.
One module an area; each is found by its name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Mapping

from tests.compose.reference.stacks import Running

Probe = Callable[[Running], Awaitable[str]]

_found: dict[str, Probe] = {}


def certificate(defect: str) -> Callable[[Probe], Probe]:
    """Make a function the certificate of `defect`. Raises ValueError when there is one already."""

    def entered(probe: Probe) -> Probe:
        if defect in _found:
            raise ValueError(f"{defect} has two certificates")
        _found[defect] = probe
        return probe

    return entered


def certificates() -> Mapping[str, Probe]:
    """Every certificate by its defect, from all area modules."""
    for module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
        importlib.import_module(module.name)
    return _found

"""What a fault's things are called where they lie: by its fields, so that no two are confused.

Two faults of one kind in one place get two names, and any process that has a fault's fields, from
the journal for one, finds its things again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from lab.fault import settings

if TYPE_CHECKING:
    from lab.fault import Fault

DIGITS = 8


def digits(fault: Fault) -> str:
    """Eight hex digits that depend on the fault's kind and fields only."""
    fields = msgspec.json.encode([fault.kind, settings(fault)], order="sorted")
    return hashlib.sha256(fields).hexdigest()[:DIGITS]


def mark(fault: Fault) -> str:
    """A name as in `latency-1a2b3c4d`."""
    return f"{fault.kind}-{digits(fault)}"


def chain(fault: Fault) -> str:
    """A name for packet filter chains, which says whose they are: `crosstalk-1a2b3c4d`."""
    return f"crosstalk-{digits(fault)}"

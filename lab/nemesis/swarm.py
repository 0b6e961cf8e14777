"""A random nemesis: a seeded schedule of faults, drawn so that every event stands on its own.

Time is cut into slots, and what happens to a place in a slot is drawn from a stream named after
the two. So no event depends on another one: taking one out, or a place or a fault out of the pool,
leaves all others as they were, which is what makes a schedule minimisable. A place is a service, a
link or a tenant by its name: the service `redis`, its disk, its clock and the link to it are one.
Two faults never meet in one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.experiment import Timed
from lab.fault import Fault
from lab.seeds import digest, stream

SLOT_SECONDS = 10.0
"""At most one fault a slot in each place."""

HELD_SECONDS = (2.0, 6.0)
"""How long a fault is held: long enough to be felt, and short enough to be recovered from."""

HEAL_SECONDS = 2.0
"""The end of a slot is kept free, so that a fault is healed before the next one begins."""


def swarm(
    seed: int, pool: Sequence[Fault], density: float = 0.5, seconds: float = 60.0
) -> tuple[Timed, ...]:
    """A schedule for a phase of `seconds`, drawn from `pool`; the same seed gives the same one.

    density: the share of slots in which something happens in a place, above 0 and up to 1. Slots
    that do not fit into `seconds` are left out, so a longer phase begins with what a shorter one
    has. Raises ValueError for an empty pool or a density that cannot be.
    """
    if not pool or not 0 < density <= 1:
        raise ValueError(f"a swarm of {len(pool)} faults at density {density:g} cannot be")
    places = sorted({place_of(fault) for fault in pool})
    events = (
        event
        for slot in range(int(seconds // SLOT_SECONDS))
        for place in places
        for event in _events(seed, place, slot, pool, density)
    )
    return tuple(sorted(events, key=lambda event: (event.start_seconds, event.fault.target)))


def place_of(fault: Fault) -> str:
    """Where a fault hits: its service's name, else its link's, else its tenant's, else its target.

    A part of a link is in the place of the link.
    """
    names = (str(getattr(fault, field, "")) for field in ("service", "link", "tenant"))
    return next(filter(None, names), fault.target).partition("@")[0]


def _events(
    seed: int, place: str, slot: int, pool: Sequence[Fault], density: float
) -> Iterator[Timed]:
    """What happens in one place in one slot: nothing, or one fault."""
    draw = stream(seed, "swarm", place, str(slot))
    if draw.random() >= density:
        return
    lasting = round(draw.uniform(*HELD_SECONDS), 3)
    latest = SLOT_SECONDS - HEAL_SECONDS - lasting
    start = round(slot * SLOT_SECONDS + draw.uniform(0.0, latest), 3)
    # The highest lot wins, and each fault draws its own: the others' do not change with the pool.
    fitting = [fault for fault in pool if place_of(fault) == place]
    fault = max(fitting, key=lambda each: digest(seed, "swarm", place, str(slot), repr(each)))
    yield Timed(fault, start, round(start + lasting, 3))

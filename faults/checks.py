"""Refusing parameters that cannot be: one line, with the parameter's name and its range."""

from __future__ import annotations

from lab.errors import UsageError

STREAMS = ("downstream", "upstream")
"""Toxiproxy's words: what the server sends, and what it is sent."""


def within(kind: str, name: str, value: object, low: float, high: float) -> None:
    """Raise UsageError unless `value` is a number from `low` to `high`; an int where `low` is one.

    The values come from a person or a journal as often as from code, so types are not taken on
    trust; a bool is no number.
    """
    fitting = (int,) if isinstance(low, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, fitting) or not low <= value <= high:
        number = "a whole number" if isinstance(low, int) else "a number"
        raise UsageError(
            f"{name}={value!r} cannot be",
            where=kind,
            mend=f"{name} is {number} from {low} to {high}",
        )


def one_of(kind: str, name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise UsageError unless `value` is one of the known words."""
    if value not in known:
        raise UsageError(
            f"{name}={value!r} cannot be", where=kind, mend=f"{name} is {', '.join(known)}"
        )

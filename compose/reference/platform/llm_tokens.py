"""What the stub model calls a token: four characters, about as many as real ones have."""

from __future__ import annotations

CHARACTERS = 4


def tokens(text: str) -> list[str]:
    """The text in tokens."""
    return [text[at : at + CHARACTERS] for at in range(0, len(text), CHARACTERS)]


def count(characters: int) -> int:
    """How many tokens that many characters are."""
    return -(-characters // CHARACTERS)

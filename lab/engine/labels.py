"""Plain data in a container's label: what another process has to know and has nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from lab.errors import LabError

T = TypeVar("T")


def packed(label: str, value: object) -> dict[str, str]:
    """The label that a container is created with."""
    return {label: msgspec.json.encode(value).decode()}


def unpacked(label: str, labels: Mapping[str, str], kind: type[T], *, what: str, mend: str) -> T:
    """What was packed. Raises LabError, in these words, for a container without such a label."""
    try:
        return msgspec.json.decode(labels.get(label, ""), type=kind)
    except msgspec.DecodeError as error:
        raise LabError(what, where=f"label {label}", mend=mend) from error

"""Arrivals out of a file: a former run's operations, or due times of a production incident.

| file       | what is in it                                                                     |
|------------|-----------------------------------------------------------------------------------|
| `.parquet` | a column `due_ns`; `tenant`, `cohort`, `phase` and `action` as a run's events have |
| `.json`    | a list of seconds, or one for each tenant: `{"alice": [0.0, 0.4], "bob": [1.2]}`   |

Only when something was due is replayed; what is done then is the workload's behaviour.
"""

# pyarrow has no types of its own.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import msgspec

from lab.arrivals import Recorded
from lab.errors import UsageError
from lab.history import OVERHEARD

MEND = "a .parquet file with a column due_ns, or a .json file with seconds for each tenant"


def recorded(file: Path, *, phase: str = "", cohort: str = "", speed: float = 1.0) -> Recorded:
    """The arrivals in `file`, the first of them at 0; tenants are in the order of their first.

    phase, cohort: only these (of a Parquet file with such columns). speed: 2 plays it in half the
    time. Raises UsageError for a file that is none, in one line.
    """
    if not 0 < speed < float("inf"):
        raise UsageError(f"speed {speed:g}", where=str(file), mend="a number above 0")
    try:
        rows = _parquet(file, phase, cohort) if file.suffix == ".parquet" else _json(file)
        due_by_tenant: defaultdict[str, list[int]] = defaultdict(list)
        for due_ns, tenant in sorted(rows):
            due_by_tenant[tenant].append(due_ns)
    except (OSError, ValueError, TypeError, KeyError, msgspec.MsgspecError) as error:
        why = " ".join(str(error).split())[:120]
        raise UsageError(f"no recorded arrivals: {why}", where=str(file), mend=MEND) from error
    if not due_by_tenant:
        raise UsageError("no recorded arrivals: nothing is due", where=str(file), mend=MEND)
    first_ns = min(due[0] for due in due_by_tenant.values())
    return Recorded(
        tuple(
            tuple(round((due_ns - first_ns) / speed) for due_ns in due)
            for due in due_by_tenant.values()
        )
    )


def _parquet(file: Path, phase: str, cohort: str) -> Iterable[tuple[int, str]]:
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    for row in table.to_pylist():
        wanted = all(not asked or row[name] == asked for name, asked in _asked(phase, cohort))
        if wanted and row.get("action") != OVERHEARD:
            yield msgspec.convert((row["due_ns"], row.get("tenant", "")), tuple[int, str])


def _asked(phase: str, cohort: str) -> tuple[tuple[str, str], ...]:
    return (("phase", phase), ("cohort", cohort))


def _json(file: Path) -> Iterable[tuple[int, str]]:
    kind = dict[str, list[float]] | list[float]
    told = msgspec.json.decode(file.read_bytes(), type=kind)
    by_tenant = told if isinstance(told, dict) else {str(k): [at] for k, at in enumerate(told)}
    for tenant, seconds in by_tenant.items():
        for at in seconds:
            yield round(at * 1e9), tenant

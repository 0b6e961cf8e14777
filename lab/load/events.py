"""The operations of a run on disk: Parquet with zstd, read back exactly as they were.

Columns are those of `Op`; any Parquet reader (DuckDB, pandas) can query them.
"""

# pyarrow has no types of its own.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lab.errors import LabError
from lab.history import Op

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = Op.__struct_fields__
_TIMES = frozenset({"due_ns", "sent_ns", "done_ns", "session"})


def write(path: Path, ops: Sequence[Op]) -> None:
    """Write all operations; the file is there in full or not at all. Raises LabError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [msgspec.to_builtins(op) for op in ops]
    columns = zip(*rows, strict=True) if rows else ([] for _ in COLUMNS)
    schema = _schema()
    arrays = [
        pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)
    ]
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), part, compression="zstd")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise LabError(f"the operations cannot be written: {error}", where=str(path)) from error


def read(path: Path) -> tuple[Op, ...]:
    """All operations of a file, in its order. Raises LabError when it is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        columns = [table.column(name).to_pylist() for name in COLUMNS]
        return msgspec.convert(list(zip(*columns, strict=True)), tuple[Op, ...])
    except FileNotFoundError:
        raise LabError(
            "no operations to read", where=str(path), mend="the run did not get that far"
        ) from None
    except (OSError, KeyError, pa.ArrowException, msgspec.ValidationError) as error:
        why = " ".join(str(error).split())[:120]
        raise LabError(f"the operations are damaged: {why}", where=str(path)) from error


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, pa.int64() if name in _TIMES else pa.string()) for name in COLUMNS])

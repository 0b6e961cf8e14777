"""How the lab is a store's administrator, as the stack file says it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lab.stack.file import load
from lab.stack.layout import Layout, label_of, layout_in
from tests.stackfiles import complaint, folder

STACK = """\
services:
  db:
    image: db:1
    environment: {SECRET: "${SECRET}"}
  app: {image: "app:1"}
x-lab:
  variables: [SECRET]
  stores:
    postgres: {service: db, marker: marks, password: SECRET, tenant_column: owner}
    redis: {service: db, tenant_keys: "k:{tenant}"}
  stubs:
    app: {fail: "echo {status}", mend: "true"}
"""


def loaded(tmp_path: Path, text: str = STACK) -> Layout:
    system = load(folder(tmp_path, text))
    return Layout(proxies=(), stores=system.stores, stubs=system.stubs)


def test_another_process_reads_the_same_from_the_label_and_no_secret(tmp_path: Path) -> None:
    layout = loaded(tmp_path)
    assert layout_in(label_of(layout)) == layout
    assert layout.stores.postgres is not None
    assert (layout.stores.postgres.user, layout.stores.postgres.password) == ("postgres", "SECRET")
    assert "${SECRET}" not in msgspec.json.encode(layout).decode()


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("{service: db, marker", "{service: dv, marker", 9, "unknown service `dv`"),
        ("service: db, tenant_keys", "service: d, tenant_keys", 10, "unknown service `d`"),
        ("password: SECRET", "password: SECRED", 9, "which `db` does not have"),
        ("marker: marks", "marker: marks; --", 9, "must be a plain name"),
        ("marker: marks, ", "", 9, "missing required field `marker`"),
        ("owner", "the owner", 9, "must be a plain name"),
        ('"k:{tenant}"', '"k:*"', 10, "must contain `{tenant}`"),
        ("redis: {", "reddis: {", 10, "did you mean `redis`"),
        ("    app: {fail", "    apt: {fail", 12, "did you mean `app`"),
        (', mend: "true"', "", 12, "missing required field `mend`"),
    ],
)
def test_what_does_not_fit_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, told: str
) -> None:
    assert STACK.count(old) == 1
    said = complaint(tmp_path, STACK.replace(old, new))
    assert told in said
    assert f"stack.yaml:{line}:" in said

"""Modes that differ: a merge patch on the stack file, checked as the file itself is."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.stack.file import SystemFile, load
from lab.stack.plan import plan
from lab.stack.tenants import secret_of

FILE = """
services:
  app: {{image: app, environment: {{A: "1", B: "2"}}, tmpfs: [/tmp]}}
  store: {{image: store}}
x-lab:
  links: {{store: {{from: [app], to: "store:1"}}}}
  modes: [plain, other]
  variants:
    other:
{variant}
"""


def system(folder: Path, variant: str) -> SystemFile:
    indented = "\n".join(f"      {line}" for line in variant.splitlines())
    (folder / "stack.yaml").write_text(FILE.format(variant=indented), encoding="utf-8")
    (folder / "driver.py").write_text("def driver(site):\n    return site\n", encoding="utf-8")
    return load(folder)


def refusal(folder: Path, variant: str) -> str:
    with pytest.raises(UsageError) as caught:
        system(folder, variant)
    return str(caught.value)


def test_mappings_merge_null_removes_and_anything_else_replaces(tmp_path: Path) -> None:
    """RFC 7386, section 2."""
    found = system(tmp_path, "services: {app: {environment: {A: null, C: 3}, tmpfs: [/run]}}")
    app = found.in_mode("other").services["app"]
    assert app.environment == {"B": "2", "C": 3}
    assert app.tmpfs == ("/run",)
    assert app.image == "app"
    assert found.in_mode("plain").services["app"].environment == {"A": "1", "B": "2"}


def test_a_mode_without_a_variant_is_the_file_itself(tmp_path: Path) -> None:
    found = system(tmp_path, "services: {app: {cpus: 1}}")
    assert found.in_mode("") is found.in_mode("plain") is found


def test_a_variant_adds_services_and_links(tmp_path: Path) -> None:
    text = """services: {pooler: {image: pooler}}
x-lab: {links: {store: {from: [pooler]}, pooler: {from: [app], to: "pooler:2"}}}"""
    other = system(tmp_path, text).in_mode("other")
    assert {p.name for p in plan(other, ()).proxies} == {"store@pooler", "pooler@app"}
    assert other.in_mode("other") is other


@pytest.mark.parametrize(
    ("variant", "told"),
    [
        ("services: {app: {ports: [1]}}", "`services.app.ports` is not supported here"),
        ("network: {}", "`x-lab.variants.other.network` is not supported here"),
        ("x-lab: {per_tenant: nobody}", "`x-lab.per_tenant` names the unknown service `nobody`"),
        ("x-lab: {per_tenant: store}", "which others need while no tenant is there"),
        ("services: {app: {environment: {A: '${NOBODY}'}}}", "unknown variable `NOBODY`"),
    ],
)
def test_a_mistake_in_a_variant_is_told_with_its_own_line(
    tmp_path: Path, variant: str, told: str
) -> None:
    message = refusal(tmp_path, variant)
    assert told in message
    assert "stack.yaml:10" in message


def test_a_variant_is_of_a_mode_that_exists(tmp_path: Path) -> None:
    system(tmp_path, "{}")
    path = tmp_path / "stack.yaml"
    path.write_text(path.read_text().replace("[plain, other]", "[plain]"))
    with pytest.raises(UsageError, match="unknown mode `other`"):
        load(tmp_path)


def test_the_proof_of_a_tenant_is_its_hmac_under_the_runs_key() -> None:
    """RFC 4231, test case 2."""
    wanted = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert secret_of("what do ya want for nothing?", "Jefe") == wanted
    assert secret_of("a", "key") != secret_of("b", "key")

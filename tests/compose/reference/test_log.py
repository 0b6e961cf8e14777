# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""Logs are JSON lines without secrets; and every code that is told is documented."""

from __future__ import annotations

import ast
import json
import logging

import pytest
from reference_platform import log, problems, tokens

from .conftest import PLATFORM

ACCOUNT = tokens.Account(tenant="t1", user="user", email="t1@tenants.test", role="user")
TOKEN = tokens.issue("0123456789abcdef" * 4, ACCOUNT, "0" * 32, 300)[0]


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"GET /ws?token={TOKEN} 101",
        f"GET /ws?a=b&ticket={'ab' * 16}",
        f"Authorization: Bearer {TOKEN[::-1]}",
        f"JWT_KEY={'0123456789abcdef' * 4}",
        f"postgres://app:{'s3cret' * 3}@postgres/platform",
    ],
)
def test_a_secret_inside_of_a_text_is_hidden(text: str) -> None:
    told = log.redacted(text)
    assert log.HIDDEN in told
    for secret in (TOKEN, TOKEN[::-1], "ab" * 16, "0123456789abcdef", "s3cret"):
        assert secret not in told


def test_a_field_that_is_named_like_a_secret_is_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    log.line("x", password="a", token="b", api_key="c", content="d", tenant="t1", n=3)
    told = json.loads(capsys.readouterr().err)
    hidden = dict.fromkeys(("password", "token", "api_key", "content"), log.HIDDEN)
    assert {name: told[name] for name in hidden} == hidden
    assert (told["event"], told["tenant"], told["n"]) == ("x", "t1", 3)


def test_an_exception_of_a_library_is_told_by_its_place_and_not_by_its_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers)
    monkeypatch.setattr(root, "level", root.level)
    log.take_over_libraries()
    try:
        raise ValueError("a tenant's words")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    told = capsys.readouterr().err
    record = json.loads(told)
    assert (record["event"], record["error"]) == (log.UNHANDLED, "ValueError")
    assert record["where"][0].startswith("test_log.py:")
    assert "a tenant's" not in told


def test_every_code_that_the_platform_tells_is_documented() -> None:
    told: set[str] = set()
    for module in PLATFORM.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem":
                told |= _codes(node.args[0])
    assert len(told) > 20
    assert told <= problems.CODES.keys(), told - problems.CODES.keys()


def test_every_code_has_an_http_status_of_refusals() -> None:
    assert all(400 <= meaning.status < 600 for meaning in problems.CODES.values())
    assert {1003, 1007, 1009, 1012, 4401, 4403} == problems.CLOSE_CODES.keys()


def _codes(node: ast.expr) -> set[str]:
    """The texts that an argument may be; the breaker's names are made of its dependency's."""
    if isinstance(node, ast.IfExp):
        return _codes(node.body) | _codes(node.orelse)
    if isinstance(node, ast.JoinedStr):
        return {f"{name}_unavailable" for name in ("postgres", "redis", "llm")}
    return {str(node.value)} if isinstance(node, ast.Constant) else set()

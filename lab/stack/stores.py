"""Checks what `x-lab` says about the insides of services: stores' administrators, stubs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lab.stack.document import Document
from lab.stack.parts import known_name
from lab.stack.schema import LabBlock, Service, pairs

_TABLE = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?")
_TENANT = "{tenant}"


def check_stores(document: Document, block: LabBlock, services: Mapping[str, Service]) -> None:
    """Raise UsageError for a service, a variable or a placeholder that is not there."""
    for kind, store in (("postgres", block.stores.postgres), ("redis", block.stores.redis)):
        if store is None:
            continue
        keys = ("x-lab", "stores", kind)
        known_name(document, (*keys, "service"), store.service, services, "service")
        inside = pairs(services[store.service].environment)
        if store.password and store.password not in inside:
            what = f"names `{store.password}`, which `{store.service}` does not have"
            raise document.error((*keys, "password"), what, "a variable of its `environment`")
        for key in ("tenant_sessions", "tenant_keys"):
            text: str = getattr(store, key, "")
            if text and _TENANT not in text:
                raise document.error((*keys, key), f"must contain `{_TENANT}`")
    if (postgres := block.stores.postgres) is not None:
        for key in ("marker", "tenant_column"):
            name: str = getattr(postgres, key)
            if name and not _TABLE.fullmatch(name):
                what = f"must be a plain name, not `{name}`"
                raise document.error(("x-lab", "stores", "postgres", key), what)
    for name in block.stubs:
        known_name(document, ("x-lab", "stubs", name), name, services, "service")

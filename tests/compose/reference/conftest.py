"""The platform's modules as a package for pure tests, and stacks held up for a whole module."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PLATFORM = Path(__file__).parents[3] / "compose" / "reference" / "platform"
NAME = "reference_platform"

if NAME not in sys.modules:  # the same name that the image gives it
    spec = importlib.util.spec_from_file_location(
        NAME, PLATFORM / "__init__.py", submodule_search_locations=[str(PLATFORM)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)

"""Settings of all tests: how long an example takes is the machine's business, never a failure."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("crosstalk", deadline=None)
settings.load_profile("crosstalk")

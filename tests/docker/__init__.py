"""Tests on real containers; they fail, and never skip, where there is no engine."""

"""The container engine: found or installed, spoken to, and what a run owns in it."""

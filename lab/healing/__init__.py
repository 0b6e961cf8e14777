"""Everything that makes sure nothing of a fault or a run outlives it, also after SIGKILL."""

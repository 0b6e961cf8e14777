"""The faults of a run while it runs: who holds them, how far they may reach, when they stop."""

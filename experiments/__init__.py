"""The experiments: one module each, found by name; `experiment(setup)` is the story as data."""

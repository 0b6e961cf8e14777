"""Drills: the lab is killed, frozen or hindered at seeded moments, and nothing may stay behind.

`python -m benchmarks.drills` runs them on stacks of its own and fails when a single point does.
"""

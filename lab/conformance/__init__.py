"""`lab system check`: what is wrong with a stack file, a stack or a driver, before any experiment.

`bench.py` holds the rules' tools, `rules_*.py` the rules, `examine.py` goes through them in order.
"""

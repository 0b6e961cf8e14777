"""The hands as they reach the engine, for a stack that stands."""

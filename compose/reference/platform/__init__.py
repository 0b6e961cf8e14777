"""The reference platform: a small multi-tenant agent service, made to be put under fault."""

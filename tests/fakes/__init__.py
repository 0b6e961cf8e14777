"""Fakes for the fake-lab ring; each passes the same conformance suite as the real thing."""

"""The faults: one small frozen class each; the fields are the schema, with units in their names."""

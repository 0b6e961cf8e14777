"""Words of SQL."""


def literal(text: str) -> str:
    """A string as SQL has it (standard_conforming_strings, the default since 9.1)."""
    return "'" + text.replace("'", "''") + "'"

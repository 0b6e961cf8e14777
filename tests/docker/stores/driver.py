"""No driver: the test itself is the only client."""

from lab.errors import UsageError
from lab.system import Driver, Site


def driver(site: Site) -> Driver:
    """Refused."""
    raise UsageError("this system has no tenants", where=str(sorted(site.entrances)))

"""Nothing of a run may be reached from other machines: looked at before anything is broken."""

from __future__ import annotations

from ipaddress import ip_address

import psutil

from lab.engine.belongings import published
from lab.errors import LabError
from lab.healing.residue import listening


def stays_inside(run: str) -> None:
    """Look at every port of the run's containers, of this process and of its children; blocking.

    Raises LabError naming the first address that others can reach.
    """
    family = (psutil.Process(), *psutil.Process().children(recursive=True))
    own = [(f"process {each.pid}", at) for each in family for at in listening(each)]
    for who, at in (*published(run), *own):
        if not is_loopback(at.rpartition(":")[0]):
            raise LabError(
                f"{who} can be reached from other machines at {at}",
                where=run,
                mend="publish ports at 127.0.0.1 only",
            )


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address; an empty one is every address."""
    return bool(address) and ip_address(address.strip("[]")).is_loopback

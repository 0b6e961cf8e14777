# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
"""A container's cable: the engine takes it out of a network of the same run, and puts it back."""

from __future__ import annotations

from lab.engine.api import RUN, Engine, told
from lab.errors import LabError


def unplug(engine: Engine, container: str, network: str) -> None:
    """Take the container out of the network; one that is not in it is fine."""
    if plugged(engine, container, network):
        _same_run(engine, container, network)
        told(lambda: engine.client.disconnect_container_from_network(container, network))


def plug(engine: Engine, container: str, network: str, alias: str) -> None:
    """Put the container into the network under this name; one that is in it is replugged."""
    unplug(engine, container, network)
    _same_run(engine, container, network)
    told(lambda: engine.client.connect_container_to_network(container, network, aliases=[alias]))


def plugged(engine: Engine, container: str, network: str, alias: str = "") -> bool:
    """Whether the container is in the network, and under this name if one is given."""
    seen = told(lambda: engine.client.inspect_container(container))
    here = seen["NetworkSettings"]["Networks"].get(network)
    return here is not None and (not alias or alias in (here["Aliases"] or ()))


def _same_run(engine: Engine, container: str, network: str) -> None:
    """Raise LabError unless both carry the label of one and the same run."""
    box = told(lambda: engine.client.inspect_container(container))["Config"]["Labels"] or {}
    cable = told(lambda: engine.client.inspect_network(network))["Labels"] or {}
    if not box.get(RUN) or box.get(RUN) != cable.get(RUN):
        raise LabError("it is not a network of this run", where=network)

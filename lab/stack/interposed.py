"""Toxiproxy's container as Testcontainers starts it: in every network before its first instant."""

from __future__ import annotations

from collections.abc import Mapping

from docker.models.containers import Container
from testcontainers.core.container import DockerContainer


class Interposed(DockerContainer):
    """A container that joins further networks before it starts; `joins`: network -> its aliases.

    Joining later would cost a running process its first connections.
    """

    joins: Mapping[str, tuple[str, ...]]

    def start(self) -> Interposed:
        """As any container's start, with the networks joined in between."""
        client = self.get_docker_client()
        start = client.start

        def joined(container: Container) -> None:
            for network, aliases in self.joins.items():
                client.client.api.connect_container_to_network(  # pyright: ignore[reportUnknownMemberType]
                    container.id or "", network, aliases=list(aliases)
                )
            start(container)

        client.start = joined
        super().start()
        return self

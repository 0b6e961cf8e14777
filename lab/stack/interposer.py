"""The interposer of a kept stack, replaced where it does not answer.

Taking a toxic off can hang and leave Toxiproxy's control API dead for good (Shopify/toxiproxy,
issue 558); then only another process of it helps.
"""

from __future__ import annotations

from contextlib import closing
from signal import SIGKILL

from anyio import to_thread

from lab.engine.api import engine
from lab.errors import LabError
from lab.hands.real.links import Listener, ToxiproxyLinks
from lab.stack.attached import kept_boxes
from lab.stack.file import CONTROL_PORT
from lab.stack.layout import layout_in
from lab.stack.plan import TOXIPROXY
from lab.system import Endpoint

START_SECONDS = 10.0


async def revive(run: str) -> str:
    """Kill and start anew an interposer that does not answer; what was done, in words.

    Its toxics go with the old process, and the ports that this host reaches the stack at are others
    afterwards. Raises LabError when the new one does not answer.
    """
    with engine() as client:
        boxes = await to_thread.run_sync(kept_boxes, client, run)
        mine = next((box.id for box in boxes if box.service == TOXIPROXY), None)
        if mine is None:
            raise LabError("its Toxiproxy is gone", where=run, mend="`lab down`, `lab up`")
        await to_thread.run_sync(client.kill, mine, SIGKILL)
        await to_thread.run_sync(client.ended_within, mine, int(START_SECONDS))
        await to_thread.run_sync(client.start, mine)
        after = await to_thread.run_sync(client.placed, mine)
        layout = layout_in(after.labels)
        own = {p.network: after.addresses[f"crosstalk-{run}-{p.network}"] for p in layout.proxies}
        listeners = [
            Listener(p.name, f"{own[p.network]}:{p.port}", p.upstream) for p in layout.proxies
        ]
        control = Endpoint("127.0.0.1", after.ports[CONTROL_PORT])
        with closing(ToxiproxyLinks(control, ())) as links:
            await links.ready(START_SECONDS)
            await links.create(listeners)
    return "replaced Toxiproxy, which did not answer; the stack has other ports now"

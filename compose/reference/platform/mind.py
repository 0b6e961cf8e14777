"""What an agent knows of its conversation, and one step of it: use a tool, or compose the answer.

It runs inside the agent's process (or, in mode `shared`, in the backend), never for two tenants.
"""

from __future__ import annotations

if __package__:
    from . import tools
else:  # inside an agent's process, which is a script that imports next to nothing
    import tools

CONTEXT_LENGTH, SAID_MAX = 10, 300


class Mind:
    """The working memory of one tenant's agent: the latest things that were said to it."""

    def __init__(self, bench: tools.Bench, context: list[str]) -> None:
        self._bench, self._context = bench, context

    def step(self, request: dict[str, object]) -> dict[str, object]:
        """The reply to a request.

        text: the model's words; tool and amount_ms: work to do; said: the tenant's own words, which
        the next answer refers to. What the database had to say does not come here: it may be large.
        """
        text, tool = str(request["text"]), request.get("tool")
        written_before = self._bench.written_bytes
        if tool is not None:
            done = tools.TOOLS[str(tool)](int(str(request["amount_ms"])), self._bench)
            text = f"{text}; {done}"
        if self._context:
            text = f"{text} (after: {self._context[-1]})"
        if said := request.get("said"):
            self._context.append(str(said)[:SAID_MAX])
            del self._context[:-CONTEXT_LENGTH]
        written_kb = (self._bench.written_bytes - written_before) / 1000
        return {"text": text, "disk_kb": written_kb}

"""The backend's way to the model: kept-alive HTTP, no retries, the message's own deadline."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import aiohttp
import msgspec

from .breaker import Breaker
from .defects import planted
from .llm_tokens import count
from .problems import Problem

RETRY_AFTER_MS = 250
NO_RETRY_PAUSE_SECONDS = 0.005
ANSWER_MAX_BYTES = 256 * 1024


class LlmClient:
    """Asks the model; one session for the whole process."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session
        self.breaker = Breaker("llm", self.probe)
        self._cache: dict[str, str] = {}
        self._last_prompt = ""

    async def complete(
        self, tenant: str, prompt: str, until: float, paid: Callable[[int], None]
    ) -> str:
        """The model's text, by loop time `until`; `paid` is told the tokens of prompt and answer,
        as far as that came. Raises Problem `llm_unavailable`, `deadline`; nothing is written."""
        if planted("llm_cache_shared") and prompt in self._cache:
            return self._cache[prompt]
        heard, whole = bytearray(), False
        try:
            await self._until_answered(tenant, prompt, until, heard)
            whole = True
        finally:
            free = planted("tokens_unmetered") or (planted("failed_calls_free") and not whole)
            if not free:
                paid(count(len(prompt)) + count(len(heard)))
        text = heard.decode()
        if planted("llm_cache_shared"):
            self._cache[prompt] = text
        return text

    async def probe(self) -> None:
        """Raises unless the model is up."""
        timeout = aiohttp.ClientTimeout(total=0.8)
        async with self._session.get(f"{self._url}/health", timeout=timeout) as response:
            response.raise_for_status()

    async def _until_answered(
        self, tenant: str, prompt: str, until: float, heard: bytearray
    ) -> None:
        """One attempt; the mistake makes as many as the deadline has room for."""
        while True:
            try:
                return await self._streamed(tenant, prompt, until, heard)
            except Problem:
                if not planted("retry_storm") or asyncio.get_running_loop().time() >= until:
                    raise
                await asyncio.sleep(NO_RETRY_PAUSE_SECONDS)

    async def _streamed(self, tenant: str, prompt: str, until: float, heard: bytearray) -> None:
        """Collect the answer in `heard`, chunk by chunk."""
        self.breaker.check()
        last, self._last_prompt = self._last_prompt, prompt
        try:
            async with (
                asyncio.timeout_at(until),
                self._session.post(
                    f"{self._url}/complete",
                    data=msgspec.json.encode({"prompt": prompt}),
                    headers={"X-Tenant": tenant},
                ) as response,
            ):
                if response.status != 200:
                    raise Problem(_code(last), retry_after_ms=RETRY_AFTER_MS)
                async for chunk in response.content.iter_any():
                    heard += chunk
                    if len(heard) > ANSWER_MAX_BYTES:
                        raise Problem("llm_unavailable")
        except TimeoutError:
            self.breaker.suspect()  # one tenant's slow answer must not open it for all
            raise Problem("deadline") from None
        except (aiohttp.ClientConnectionError, OSError):
            self.breaker.failed()
            raise Problem("llm_unavailable", retry_after_ms=RETRY_AFTER_MS) from None
        except aiohttp.ClientError:  # broken off in the middle, which may be this answer's fault
            self.breaker.suspect()
            raise Problem("llm_unavailable", retry_after_ms=RETRY_AFTER_MS) from None
        self.breaker.succeeded()


def _code(last_prompt: str) -> str:
    """What a client is told of a failure; the mistake adds the client's latest request."""
    if planted("llm_error_tells_prompt"):
        return "llm_unavailable " + re.sub(r"[^\w .:-]", " ", last_prompt)
    return "llm_unavailable"

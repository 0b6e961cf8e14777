"""The backend's way to the model: kept-alive HTTP, no retries, the message's own deadline."""

from __future__ import annotations

import asyncio

import aiohttp
import msgspec

from .breaker import Breaker
from .problems import Problem


class LlmClient:
    """Asks the model; one session for the whole process."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session
        self.breaker = Breaker("llm", self.probe)

    async def complete(self, prompt: str, until: float) -> str:
        """The model's text. Raises Problem `llm_unavailable`, `deadline`; nothing is written."""
        self.breaker.check()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(until):
                async with self._session.post(
                    f"{self._url}/complete", data=msgspec.json.encode({"prompt": prompt})
                ) as response:
                    body = await response.read()
                    if response.status != 200:
                        raise Problem("llm_unavailable")
        except TimeoutError:
            self.breaker.failed()
            raise Problem("deadline" if loop.time() >= until else "llm_unavailable") from None
        except (aiohttp.ClientError, OSError):
            self.breaker.failed()
            raise Problem("llm_unavailable") from None
        self.breaker.succeeded()
        return msgspec.json.decode(body, type=dict[str, str])["text"]

    async def probe(self) -> None:
        """Raises unless the model is up."""
        timeout = aiohttp.ClientTimeout(total=0.8)
        async with self._session.get(f"{self._url}/health", timeout=timeout) as response:
            response.raise_for_status()

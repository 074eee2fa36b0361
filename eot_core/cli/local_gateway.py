"""A gateway on this machine for a demonstration: a process of its own, which can be killed."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
from types import TracebackType
from typing import Final, Self

START_TIMEOUT: Final = 60.0
"""Seconds until the gateway must be ready; the first load of a model from a cold disk is most of it."""


class LocalGatewayError(Exception):
    """The gateway could not be started. The message says why."""


class LocalGateway:
    """``eot serve`` on a free port of the loopback interface, with a key that nobody else knows. It ends with this
    process."""

    def __init__(self, model: str | None = None) -> None:
        """
        Args:
            model: name, or path of an ONNX file; None: the default local model.
        """
        self._model = model
        self._process: asyncio.subprocess.Process | None = None
        self._url: str | None = None
        self._key = f"demo-{secrets.token_hex(4)}"
        self._secret = secrets.token_hex(32)

    @property
    def url(self) -> str:
        """What clients take as ``base_url``."""
        if self._url is None:
            raise RuntimeError("the gateway was not started")
        return self._url

    @property
    def api_key(self) -> str:
        """The one key that may connect."""
        return self._key

    @property
    def api_secret(self) -> str:
        """Its secret."""
        return self._secret

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which a detector finds the gateway."""
        return {
            "LIVEKIT_INFERENCE_URL": self.url,
            "LIVEKIT_INFERENCE_API_KEY": self._key,
            "LIVEKIT_INFERENCE_API_SECRET": self._secret,
        }

    async def __aenter__(self) -> Self:
        """Start it, and wait until it is ready.

        Raises:
            LocalGatewayError: it did not become ready.
        """
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "eot_core.cli.replay_child", str(os.getpid()), "serve", "--port", "0"),
            *(() if self._model is None else ("--model", self._model)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "EOT_GATEWAY_KEYS": f"{self._key}:{self._secret}"},
        )
        assert self._process.stdout is not None
        said = ""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while raw := await self._process.stdout.readline():
                    line = raw.decode(errors="replace").strip()
                    if found := re.search(r"ready at (\S+)", line):
                        self._url = found.group(1)
                        return self
                    said = line or said  # a warning, or what it died of
        except TimeoutError:
            said = said or "the gateway did not become ready"
        await self._end()
        raise LocalGatewayError(said or "the gateway did not become ready")

    def kill(self) -> None:
        """As the power fails: no goodbye to anybody. Idempotent."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        self.kill()
        if self._process is not None:
            await self._process.communicate()

    def __repr__(self) -> str:
        return f"<LocalGateway {self._model or '(default model)'} at {self._url or 'no address'}>"

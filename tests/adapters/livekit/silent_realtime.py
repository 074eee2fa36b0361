"""The session of a realtime model for which nothing has to be paid."""

from __future__ import annotations

import asyncio
from typing import Any

from livekit.agents import llm


class SilentRealtimeSession(llm.RealtimeSession[Any]):
    """Hears everything, says nothing."""

    def __init__(self, model: llm.RealtimeModel) -> None:
        super().__init__(model)
        self._chat_ctx = llm.ChatContext.empty()

    @property
    def chat_ctx(self) -> llm.ChatContext:
        return self._chat_ctx

    @property
    def tools(self) -> llm.ToolContext:
        return llm.ToolContext.empty()

    async def update_instructions(self, instructions: str) -> None:
        pass

    async def update_chat_ctx(self, chat_ctx: llm.ChatContext) -> None:
        self._chat_ctx = chat_ctx

    async def update_tools(self, tools: list[Any]) -> None:
        pass

    def update_options(self, **_: Any) -> None:
        pass

    def push_audio(self, frame: Any) -> None:
        pass

    def push_video(self, frame: Any) -> None:
        pass

    def generate_reply(self, **_: Any) -> asyncio.Future[llm.GenerationCreatedEvent]:
        return asyncio.get_running_loop().create_future()

    def commit_audio(self) -> None:
        pass

    def clear_audio(self) -> None:
        pass

    def interrupt(self) -> None:
        pass

    def truncate(self, **_: Any) -> None:
        pass

    async def aclose(self) -> None:
        pass

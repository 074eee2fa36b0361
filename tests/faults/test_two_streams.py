"""Two conversations of one detector over real sockets: what happens to one is not felt by the other."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import virtual_time
from fakes import FakeModel, fake_spec
from far_end import CLOSE, Connection, FarEnd, Gone, created, prediction

from eot_core import BackchannelOpportunity, DetectorStream, FallbackOccurred, Outcome, TurnDetector

NOISE = (np.random.default_rng(0).standard_normal(1_600) * 3000).astype(np.int16)
KEY, SECRET = "APItwostreams", "a-secret-that-is-long-enough-for-hs256"


class Gate(FarEnd):
    """A gateway with thresholds of its own for each connection, one of which it can drop."""

    def __init__(self) -> None:
        super().__init__(self._talk)
        self.drop: dict[int, asyncio.Event] = {}

    async def _talk(self, connection: Connection) -> None:
        number = len(self.connections)
        drop = self.drop[number] = asyncio.Event()
        await connection.accept()
        serving = asyncio.create_task(self._serve(connection, number), name="far end's half")
        dropping = asyncio.create_task(drop.wait(), name="far end's other half")
        await asyncio.wait({serving, dropping}, return_when=asyncio.FIRST_COMPLETED)
        if drop.is_set():
            await connection.frame(CLOSE, (1011).to_bytes(2, "big"))
        dropping.cancel()
        await asyncio.gather(serving, dropping, return_exceptions=True)

    async def _serve(self, connection: Connection, number: int) -> None:
        threshold = 0.4 + number / 10
        try:
            while True:
                message = await connection.receive()
                if message.HasField("session_create"):
                    await connection.send(created({"en": threshold, "de": 0.3}, threshold, backchannel=0.5))
                elif message.HasField("inference_start"):
                    answer = prediction(message.inference_start.request_id, 0.875, backchannel=0.75)
                    await connection.send(answer)
                elif message.HasField("session_close"):
                    await connection.frame(CLOSE, (1000).to_bytes(2, "big"))
        except Gone:
            return


def looks(stream: DetectorStream) -> tuple[Any, ...]:
    """All that one stream's fallback might change in another."""
    return (
        stream.model,
        stream.is_fallback,
        stream.unlikely_threshold("en"),
        stream.unlikely_threshold("de"),
        stream.backchannel_threshold("en"),
        stream.thresholds,
    )


async def ask(stream: DetectorStream) -> Any:
    stream.push_audio(NOISE)
    answer = await stream.predict()
    stream.flush("turn committed")
    return answer


async def scenario() -> None:
    local = fake_spec(FakeModel(0.75), name="local-model", default_threshold=0.25)
    async with Gate() as gate:
        detector = TurnDetector(version="v1", base_url=gate.url, api_key=KEY, api_secret=SECRET, fallback_model=local)
        of_detector: list[FallbackOccurred] = []
        detector.on("fallback", of_detector.append)
        first = detector.stream()
        await asyncio.sleep(0.1)
        second = detector.stream()
        await asyncio.sleep(0.1)
        fallbacks: list[FallbackOccurred] = []
        of_second: list[object] = []
        first.on("fallback", fallbacks.append)
        second.on("fallback", of_second.append)
        backchannels: list[BackchannelOpportunity] = []
        second.on("backchannel_opportunity", backchannels.append)
        assert (await ask(first)).source == (await ask(second)).source == "cloud"
        before = looks(second)
        assert before[:5] == ("turn-detector-v1", False, 0.6, 0.3, 0.5)
        assert looks(first)[:5] == ("turn-detector-v1", False, 0.5, 0.3, 0.5), "each has its own connection's"

        gate.drop[1].set()
        await asyncio.sleep(0.1)
        assert (first.model, first.is_fallback) == ("local-model", True)
        assert (
            fallbacks == of_detector == [FallbackOccurred("turn-detector-v1", "local-model", "connection_closed_1011")]
        )
        answer = await ask(first)
        assert (answer.source, answer.probability, answer.backchannel_probability) == ("local", 0.75, None)
        assert first.unlikely_threshold("en") == 0.25
        assert first.backchannel_threshold("en") is None

        assert looks(second) == before
        assert of_second == []
        answer = await ask(second)
        assert (answer.source, answer.probability, answer.backchannel_probability) == ("cloud", 0.875, 0.75)
        assert [each.probability for each in backchannels] == [0.75, 0.75]
        assert looks(second) == before
        assert detector.model == "turn-detector-v1"

        # The next conversation tries the cloud, and changes nothing for those that go on.
        third = detector.stream()
        await asyncio.sleep(0.1)
        answer = await ask(third)
        assert (answer.source, answer.outcome) == ("cloud", Outcome.ANSWERED)
        assert (third.model, third.is_fallback, third.unlikely_threshold("en")) == ("turn-detector-v1", False, 0.7)
        assert len(gate.connections) == 3
        assert looks(second) == before
        assert (first.model, first.unlikely_threshold("en")) == ("local-model", 0.25), "sticky for its stream"

        # Nor does an update of all of them mix them up: on the scale of the cloud's model, rescaled after a fallback.
        detector.update_options(unlikely_threshold=0.6)
        assert second.unlikely_threshold("en") == third.unlikely_threshold("en") == 0.6
        assert first.unlikely_threshold("en") != 0.6
        for stream in (first, second, third):
            await stream.aclose()


def test_a_fallback_is_its_streams_own() -> None:
    virtual_time.run(scenario)

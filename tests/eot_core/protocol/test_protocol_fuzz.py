"""Hostile bytes at both ends: every frame ends in an event or is ignored, never in an exception.

``EOT_FUZZ_FRAMES`` sets how many frames each end gets (default 2,000; the full run is 100,000). A failing example
prints the seed and the frame's number; :func:`frames` gives the same frames again.
"""

import collections
import os
import random
import tracemalloc
from collections.abc import Iterator

from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from livekit.protocol.agent_pb import agent_inference as pb

from eot_core.protocol import ClientProtocol, LocalProtocolError, ProtocolError, ServerProtocol, State
from eot_core.transports.base import Calibration

FRAMES = int(os.environ.get("EOT_FUZZ_FRAMES", "2000"))
PER_EXAMPLE = 500
NOW = 1_700_000_000.0
FLOATS = (0.0, -0.0, 0.5, 1.0, 1.0000001, -1.0, 2.0, 1e30, float("inf"), float("-inf"), float("nan"))
INTEGERS = (0, 1, 159, 8000, 16000, 48000, 2**31, 2**32 - 1)
SECONDS = (0, 1, 1_700_000_000, 253_402_300_799, 2**62, -1, -(2**62))
NANOS = (0, 1, 999_999_999, 1_000_000_000, -1, 2**31 - 1)
TEXTS = ("", "r1", "r2", "x" * 300, "a\nb", "\x00", "é", "en", "zh-Hans")

Protocol = ClientProtocol | ServerProtocol


def fill(rng: random.Random, message: Message, depth: int = 0) -> None:
    """Random values in random fields, of honest and of dishonest kinds."""
    for field in message.DESCRIPTOR.fields:
        if (field.containing_oneof is not None and len(field.containing_oneof.fields) > 1) or rng.random() < 0.3:
            continue
        set_field(rng, message, field.name, depth)
    for oneof in message.DESCRIPTOR.oneofs:
        if len(oneof.fields) > 1 and rng.random() < 0.95:
            set_field(rng, message, rng.choice(oneof.fields).name, depth)


def set_field(rng: random.Random, message: Message, name: str, depth: int) -> None:
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        for _ in range(rng.choice((0, 1, 1, 3, 600) if rng.random() < 0.05 else (0, 1, 2))):
            getattr(message, name)[rng.choice(TEXTS) + str(rng.randrange(700))] = rng.choice(FLOATS)
    elif field.message_type is not None and field.is_repeated:
        for _ in range(rng.randrange(3)):
            getattr(message, name).add()
    elif field.is_repeated:
        getattr(message, name).extend(rng.choice(FLOATS) for _ in range(3))
    elif field.message_type is not None:
        child = getattr(message, name)
        child.SetInParent()
        if field.message_type.name in ("Timestamp", "Duration"):
            child.seconds, child.nanos = rng.choice(SECONDS), rng.choice(NANOS)
        elif depth < 4:
            fill(rng, child, depth + 1)
    elif field.cpp_type == field.CPPTYPE_FLOAT:
        setattr(message, name, rng.choice(FLOATS) if rng.random() < 0.5 else rng.random())
    elif field.type == field.TYPE_BYTES:
        setattr(message, name, b"\0" * rng.choice((0, 1, 2, 640, 641, 960_002 if rng.random() < 0.01 else 4)))
    elif field.type == field.TYPE_STRING:
        setattr(message, name, rng.choice(TEXTS))
    elif field.type == field.TYPE_BOOL:
        setattr(message, name, rng.random() < 0.5)
    elif field.type == field.TYPE_ENUM:
        setattr(message, name, rng.choice((0, 1, 2, 99)))
    else:
        setattr(message, name, rng.choice(INTEGERS))


def honest(rng: random.Random, end: type[Protocol]) -> bytes:
    """A message as the far end would send it, in no particular order."""
    request_id = rng.choice(("r1", "r2", "r3"))
    if end is ClientProtocol:
        server = pb.ServerMessage(
            **rng.choice(
                [
                    {"inference_started": pb.InferenceStarted(), "request_id": request_id},
                    {"inference_stopped": pb.InferenceStopped(), "request_id": request_id},
                    {"eot_prediction": pb.EotPrediction(probability=rng.random()), "request_id": request_id},
                    {"session_created": pb.SessionCreated(default_thresholds={"en": 0.5}, default_threshold=0.5)},
                    {"session_closed": pb.SessionClosed()},
                    {"error": pb.InferenceError(message="no", code=500), "request_id": request_id},
                ]
            )
        )
        return server.SerializeToString()
    client = pb.ClientMessage(
        **rng.choice(
            [
                {"input_audio": pb.InputAudio(audio=b"\0" * 640, num_samples=320)},
                {"inference_start": pb.InferenceStart(request_id=request_id)},
                {"inference_stop": pb.InferenceStop(request_id=request_id)},
                {"session_flush": pb.SessionFlush()},
                {"session_create": pb.SessionCreate(settings=pb.SessionSettings(sample_rate=16000))},
                {"session_close": pb.SessionClose()},
            ]
        )
    )
    return client.SerializeToString()


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Bits flipped, a piece cut out, doubled or put in."""
    raw = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(4):
            case 0 if at < len(raw):
                raw[at] ^= 1 << rng.randrange(8)
            case 1:
                del raw[at : at + rng.randrange(1, 8)]
            case 2:
                raw[at:at] = raw[at : at + rng.randrange(1, 64)]
            case _:
                raw[at:at] = rng.randbytes(rng.randrange(1, 8))
    return bytes(raw)


def frames(seed: int, end: type[Protocol], count: int = PER_EXAMPLE) -> Iterator[bytes | str]:
    """Hostile frames for one end: a third each of noise, of dishonest messages and of honest ones in random order."""
    rng = random.Random(seed)
    message_type = pb.ServerMessage if end is ClientProtocol else pb.ClientMessage
    for _ in range(count):
        match rng.randrange(6):
            case 0:
                yield rng.randbytes(int(rng.expovariate(1 / 40)))
            case 1:
                yield mutate(rng, honest(rng, end))
            case 2:
                message = message_type()
                fill(rng, message)
                yield message.SerializeToString()
            case 3:
                message = message_type()
                fill(rng, message)
                yield mutate(rng, message.SerializeToString())
            case 4 if rng.random() < 0.02:
                yield rng.choice(("", "text", b"\0" * ((1 << 20) + 1)))
            case _:
                yield honest(rng, end)


def fresh(rng: random.Random, end: type[Protocol]) -> Protocol:
    """A session in a random early state, so that not every frame meets a closed one."""
    if end is ClientProtocol:
        client = ClientProtocol()
        if rng.random() < 0.95:
            client.session_create(sample_rate=16000, created_at=NOW)
        if client.state is State.CREATING and rng.random() < 0.8:
            client.receive(pb.ServerMessage(session_created=CREATED).SerializeToString())
        return client
    server = ServerProtocol()
    if rng.random() < 0.95:
        server.receive(ClientProtocol().session_create(sample_rate=16000, created_at=NOW))
    if server.state is State.CREATING and rng.random() < 0.8:
        server.session_created(Calibration({"en": 0.5}), created_at=NOW)
    return server


CREATED = pb.SessionCreated(default_thresholds={"en": 0.5}, default_threshold=0.5)


def answer_everything(server: ServerProtocol) -> None:
    """What a gateway may do at any time must work whatever was received."""
    if server.state is State.OPEN:
        for request_id in server.pending[1:]:
            server.eot_prediction(request_id, 0.5, created_at=NOW)


def torture(end: type[Protocol]) -> collections.Counter[str]:
    seen: collections.Counter[str] = collections.Counter()

    @settings(
        max_examples=max(1, FRAMES // PER_EXAMPLE),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**63))
    def run(seed: int) -> None:
        rng = random.Random(seed)
        protocol = fresh(rng, end)
        for number, frame in enumerate(frames(seed, end)):
            if protocol.state in (State.FAILED, State.CLOSED) and rng.random() < 0.9:
                protocol = fresh(rng, end)
            was_failed = protocol.state is State.FAILED
            try:
                events = protocol.receive(frame)
                if isinstance(protocol, ServerProtocol):
                    answer_everything(protocol)
            except Exception as error:
                raise AssertionError(f"frame {number} of seed {seed} raised {error!r}: {frame[:200]!r}") from error
            seen["frames"] += 1
            assert len(events) <= 1
            for event in events:
                assert not was_failed
                kind = f"ProtocolError {event.code}" if isinstance(event, ProtocolError) else type(event).__name__
                seen[kind] += 1
                assert (protocol.state is State.FAILED) == isinstance(event, ProtocolError)
                assert len(repr(event)) < 40_000
            if isinstance(protocol, ServerProtocol):
                assert len(protocol.pending) <= protocol.limits.max_pending_requests

    run()
    return seen


def show(end: str, seen: collections.Counter[str]) -> None:
    print(f"\n{end}: {seen['frames']} hostile frames, no exception")
    for kind, count in seen.most_common():
        if kind != "frames":
            print(f"  {count:7d}  {kind}")


def test_hostile_bytes_at_the_client() -> None:
    seen = torture(ClientProtocol)
    show("client", seen)
    assert seen["frames"] >= min(FRAMES, PER_EXAMPLE)
    for kind in ("EotPrediction", "ServerError", "Ignored", "ProtocolError malformed", "ProtocolError out_of_order"):
        assert seen[kind] > 0, f"the fuzzer no longer reaches {kind}"


def test_hostile_bytes_at_the_server() -> None:
    seen = torture(ServerProtocol)
    show("server", seen)
    assert seen["frames"] >= min(FRAMES, PER_EXAMPLE)
    for kind in ("InputAudio", "InferenceStartRequested", "ProtocolError malformed", "ProtocolError bad_audio"):
        assert seen[kind] > 0, f"the fuzzer no longer reaches {kind}"


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_at_either_end(data: bytes) -> None:
    for end in (ClientProtocol, ServerProtocol):
        protocol = fresh(random.Random(1), end)
        assert len(protocol.receive(data)) <= 1


@given(st.lists(st.sampled_from(["create", "audio", "start", "stop", "flush", "close"]), max_size=12))
@settings(max_examples=200, deadline=None)
def test_whatever_our_client_can_send_our_server_takes(calls: list[str]) -> None:
    client, server = ClientProtocol(), ServerProtocol()
    for number, call in enumerate(calls):
        try:
            match call:
                case "create":
                    data = client.session_create(sample_rate=16000, created_at=NOW)
                case "audio":
                    data = client.input_audio(b"\0\0", captured_at=NOW, created_at=NOW)
                case "start":
                    data = client.inference_start(f"r{number}", created_at=NOW)
                case "stop":
                    data = client.inference_stop(f"r{number - 1}", created_at=NOW)
                case "flush":
                    data = client.session_flush(created_at=NOW)
                case _:
                    data = client.session_close(created_at=NOW)
        except LocalProtocolError:
            continue
        assert not any(isinstance(event, ProtocolError) for event in server.receive(data))
    assert client.state is server.state


def test_memory_does_not_grow_with_hostile_frames() -> None:
    protocol = ServerProtocol()
    protocol.receive(ClientProtocol().session_create(sample_rate=16000, created_at=NOW))
    audio = pb.ClientMessage(input_audio=pb.InputAudio(audio=b"\0" * 640)).SerializeToString()
    chat = pb.ClientMessage(eot_input_chat_context=pb.EotInputChatContext()).SerializeToString()
    stop = pb.ClientMessage(inference_stop=pb.InferenceStop(request_id="x" * 200)).SerializeToString()
    tracemalloc.start()
    try:
        for frame in (audio, chat, stop) * 100:
            protocol.receive(frame)
        before = tracemalloc.get_traced_memory()[0]
        for frame in (audio, chat, stop) * 1000:
            protocol.receive(frame)
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()

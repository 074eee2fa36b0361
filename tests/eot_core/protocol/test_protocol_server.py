"""The server's end, against raw messages and against the client's end."""

import math

import pytest
from livekit.protocol.agent_pb import agent_inference as pb

from eot_core.protocol import (
    Backend,
    ClientProtocol,
    EotPrediction,
    ErrorCode,
    Ignored,
    InferenceStarted,
    InferenceStartRequested,
    InferenceStats,
    InferenceStopped,
    InferenceStopRequested,
    InputAudio,
    LocalProtocolError,
    ProtocolError,
    ProtocolLimits,
    ServerError,
    ServerProtocol,
    SessionClosed,
    SessionCloseRequested,
    SessionCreated,
    SessionCreateRequested,
    SessionFlushRequested,
    State,
)
from eot_core.transports.base import Calibration

NOW = 1_700_000_000.25
CALIBRATION = Calibration({"en": 0.56, "de": 0.4}, 0.5, {"en": 0.7}, 0.6)


def error_code(events: list[object]) -> ErrorCode:
    (event,) = events
    assert isinstance(event, ProtocolError), event
    return event.code


def send(server: ServerProtocol, **body: object) -> list[object]:
    return list(server.receive(pb.ClientMessage(**body).SerializeToString()))  # type: ignore[arg-type]


@pytest.fixture
def pair() -> tuple[ClientProtocol, ServerProtocol]:
    client, server = ClientProtocol(), ServerProtocol()
    server.receive(client.session_create(sample_rate=16000, created_at=NOW))
    client.receive(server.session_created(CALIBRATION, created_at=NOW))
    assert (client.state, server.state) == (State.OPEN, State.OPEN)
    return client, server


@pytest.fixture
def server(pair: tuple[ClientProtocol, ServerProtocol]) -> ServerProtocol:
    return pair[1]


def test_a_whole_session() -> None:
    client, server = ClientProtocol(), ServerProtocol()
    assert server.receive(client.session_create(sample_rate=24000, created_at=NOW)) == [
        SessionCreateRequested(24000, NOW)
    ]
    audio = client.input_audio(b"\1\0" * 3, captured_at=NOW - 1, created_at=NOW)
    assert server.receive(audio) == [InputAudio(b"\1\0" * 3, NOW - 1, NOW)]
    assert server.receive(client.inference_start("r1", created_at=NOW)) == [InferenceStartRequested("r1", NOW)]
    assert server.pending == ("r1",)
    (event,) = client.receive(server.session_created(CALIBRATION, created_at=NOW))
    assert event == SessionCreated(CALIBRATION, NOW)
    assert client.receive(server.inference_started("r1", created_at=NOW)) == [InferenceStarted("r1", NOW)]
    stats = InferenceStats(NOW - 2, NOW - 1, 0.25, 0.125, 0.0, 0.0625)
    data = server.eot_prediction("r1", 0.75, created_at=NOW, stats=stats, backchannel_probability=0.5)
    assert client.receive(data) == [EotPrediction("r1", 0.75, 0.5, stats, Backend.MULTIMODAL, NOW)]
    assert pb.ServerMessage.FromString(data).client_created_at.ToMilliseconds() == 1_700_000_000_250
    assert server.pending == ()
    server.receive(client.inference_start("r2", created_at=NOW))
    assert server.receive(client.inference_stop("r2", created_at=NOW)) == [InferenceStopRequested("r2", NOW)]
    assert client.receive(server.inference_stopped("r2", created_at=NOW)) == [InferenceStopped("r2", NOW)]
    assert server.receive(client.session_flush(created_at=NOW)) == [SessionFlushRequested(NOW)]
    assert server.receive(client.session_close(created_at=NOW)) == [SessionCloseRequested(NOW)]
    assert client.receive(server.session_closed(created_at=NOW)) == [SessionClosed(NOW)]
    assert client.state is server.state is State.CLOSED


def test_the_first_message_must_be_session_create() -> None:
    for body in ({"session_flush": pb.SessionFlush()}, {"session_close": pb.SessionClose()}, {}):
        assert error_code(send(ServerProtocol(), **body)) is ErrorCode.OUT_OF_ORDER


def test_a_second_session_create_is_an_error(server: ServerProtocol) -> None:
    settings = pb.SessionSettings(sample_rate=16000)
    assert error_code(send(server, session_create=pb.SessionCreate(settings=settings))) is ErrorCode.OUT_OF_ORDER


@pytest.mark.parametrize(
    "settings",
    [
        pb.SessionSettings(),
        pb.SessionSettings(sample_rate=7999),
        pb.SessionSettings(sample_rate=48001),
        pb.SessionSettings(sample_rate=2**32 - 1),
        pb.SessionSettings(sample_rate=16000, encoding=pb.AUDIO_ENCODING_OPUS),
        pb.SessionSettings(sample_rate=16000, encoding=99),  # type: ignore[arg-type]
        pb.SessionSettings(sample_rate=16000, interruption_settings=pb.InterruptionSettings()),
        pb.SessionSettings(sample_rate=16000, eot_settings=pb.EotSettings(detection_interval={"seconds": 1})),
    ],
)
def test_settings_that_cannot_be_served(settings: pb.SessionSettings) -> None:
    server = ServerProtocol()
    assert error_code(send(server, session_create=pb.SessionCreate(settings=settings))) is ErrorCode.BAD_SETTINGS
    assert server.state is State.FAILED


def test_empty_eot_settings_are_fine() -> None:
    settings = pb.SessionSettings(sample_rate=8000, eot_settings=pb.EotSettings())
    assert send(ServerProtocol(), session_create=pb.SessionCreate(settings=settings)) == [SessionCreateRequested(8000)]


@pytest.mark.parametrize(
    "audio",
    [
        pb.InputAudio(audio=b"\0"),
        pb.InputAudio(audio=b"\0\0\0\0", num_samples=1),
        pb.InputAudio(num_samples=1),
        pb.InputAudio(audio=b"\0" * 960_002),
    ],
)
def test_audio_that_is_none(server: ServerProtocol, audio: pb.InputAudio) -> None:
    assert error_code(send(server, input_audio=audio)) is ErrorCode.BAD_AUDIO


def test_audio_without_count_or_time_is_taken_and_empty_audio_is_nothing(server: ServerProtocol) -> None:
    (event,) = send(server, input_audio=pb.InputAudio(audio=b"\0\0\0\0"))
    assert isinstance(event, InputAudio)
    assert (event.num_samples, event.captured_at, event.created_at) == (2, None, None)
    assert send(server, input_audio=pb.InputAudio()) == []
    assert "pcm" not in repr(event), "audio stays out of the logs"


def test_requests_are_counted(pair: tuple[ClientProtocol, ServerProtocol]) -> None:
    server = ServerProtocol(ProtocolLimits(max_pending_requests=2))
    client = ClientProtocol()
    server.receive(client.session_create(sample_rate=16000, created_at=NOW))
    for name in ("a", "b"):
        server.receive(client.inference_start(name, created_at=NOW))
    assert error_code(server.receive(client.inference_start("c", created_at=NOW))) is ErrorCode.TOO_MANY_REQUESTS
    assert server.pending == ()


def test_request_ids_are_checked(server: ServerProtocol) -> None:
    assert send(server, inference_stop=pb.InferenceStop(request_id="never asked")) == []
    send(server, inference_start=pb.InferenceStart(request_id="r"))
    again = send(server, inference_start=pb.InferenceStart(request_id="r"))
    assert error_code(again) is ErrorCode.DUPLICATE_REQUEST


@pytest.mark.parametrize("request_id", ["", "x" * 257, "a\x1b[31m"])
def test_request_ids_that_are_none(pair: tuple[ClientProtocol, ServerProtocol], request_id: str) -> None:
    _, server = pair
    assert error_code(send(server, inference_start=pb.InferenceStart(request_id=request_id))) is (
        ErrorCode.BAD_REQUEST_ID
    )


def test_what_this_server_does_not_use_is_ignored(server: ServerProtocol) -> None:
    assert send(server, buffer_start=pb.BufferStart()) == [Ignored("buffer_start")]
    assert send(server, eot_input_chat_context=pb.EotInputChatContext()) == [Ignored("eot_input_chat_context")]
    assert send(server) == [Ignored("unknown")]


def test_nothing_is_taken_after_session_close(server: ServerProtocol) -> None:
    send(server, session_close=pb.SessionClose())
    assert error_code(send(server, session_flush=pb.SessionFlush())) is ErrorCode.AFTER_CLOSE
    assert send(server, session_flush=pb.SessionFlush()) == []


@pytest.mark.parametrize("data", ["text", b"\xff", b"\0" * ((1 << 20) + 1)])
def test_frames_that_are_no_messages(server: ServerProtocol, data: bytes | str) -> None:
    (event,) = server.receive(data)
    assert isinstance(event, ProtocolError)
    client = ClientProtocol()
    client.session_create(sample_rate=16000, created_at=NOW)
    assert client.receive(server.error(event.message, 400, created_at=NOW)) == [
        ServerError(event.message, 400, None, NOW)
    ]


# ---- what the server may not send


def test_nothing_is_sent_before_session_created() -> None:
    server = ServerProtocol()
    with pytest.raises(LocalProtocolError, match="session_created is not allowed in state new"):
        server.session_created(CALIBRATION, created_at=NOW)
    with pytest.raises(LocalProtocolError, match="session_closed"):
        server.session_closed(created_at=NOW)
    server.receive(ClientProtocol().session_create(sample_rate=16000, created_at=NOW))
    for call in (server.inference_started, server.inference_stopped):
        with pytest.raises(LocalProtocolError, match="state creating"):
            call("r", created_at=NOW)
    with pytest.raises(LocalProtocolError, match="state creating"):
        server.eot_prediction("r", 0.5, created_at=NOW)


def test_only_pending_requests_are_answered_and_only_once(pair: tuple[ClientProtocol, ServerProtocol]) -> None:
    client, server = pair
    server.receive(client.inference_start("r1", created_at=NOW))
    server.eot_prediction("r1", 0.5, created_at=NOW)
    for call in (
        lambda: server.eot_prediction("r1", 0.5, created_at=NOW),
        lambda: server.inference_started("r1", created_at=NOW),
        lambda: server.error("no", 500, created_at=NOW, request_id="r1"),
    ):
        with pytest.raises(LocalProtocolError, match="not pending"):
            call()


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1])
def test_probabilities_that_are_none_are_not_sent(server: ServerProtocol, value: float) -> None:
    send(server, inference_start=pb.InferenceStart(request_id="r"))
    with pytest.raises(LocalProtocolError, match="probability must be"):
        server.eot_prediction("r", value, created_at=NOW)
    with pytest.raises(LocalProtocolError, match="backchannel_probability must be"):
        server.eot_prediction("r", 0.5, created_at=NOW, backchannel_probability=value)
    with pytest.raises(LocalProtocolError, match="created_at"):
        server.eot_prediction("r", 0.5, created_at=math.nan)
    assert server.pending == ("r",), "it can still be answered"


def test_durations_are_checked_and_capped(pair: tuple[ClientProtocol, ServerProtocol]) -> None:
    client, server = pair
    server.receive(client.inference_start("r", created_at=NOW))
    with pytest.raises(LocalProtocolError, match="inference_duration"):
        server.eot_prediction("r", 0.5, created_at=NOW, stats=InferenceStats(inference_duration=-1.0))
    data = server.eot_prediction("r", 0.5, created_at=NOW, stats=InferenceStats(inference_duration=1e9))
    (event,) = client.receive(data)
    assert isinstance(event, EotPrediction)
    assert event.stats.inference_duration == 3600.0


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration({}, 0.5),
        Calibration({"en": 0.5}, 0.0),
        Calibration({"en": 0.5}, math.nan),
        Calibration({"en": 1.5}, 0.5),
        Calibration({"en": math.nan}, 0.5),
    ],
)
def test_a_calibration_that_clients_refuse_is_not_sent(calibration: Calibration) -> None:
    server = ServerProtocol()
    server.receive(ClientProtocol().session_create(sample_rate=16000, created_at=NOW))
    with pytest.raises(LocalProtocolError, match="calibration"):
        server.session_created(calibration, created_at=NOW)
    assert server.state is State.CREATING


def test_a_calibration_without_backchannels_arrives_as_such() -> None:
    for default in (None, math.nan):
        client, server = ClientProtocol(), ServerProtocol()
        server.receive(client.session_create(sample_rate=16000, created_at=NOW))
        sent = Calibration({"en": 0.5}, 0.5, {"en": math.nan}, default)
        (event,) = client.receive(server.session_created(sent, created_at=NOW))
        assert isinstance(event, SessionCreated)
        assert event.calibration == Calibration({"en": 0.5}, 0.5, {"en": 0.0}, None)


def test_an_error_of_one_request_and_of_the_session(pair: tuple[ClientProtocol, ServerProtocol]) -> None:
    client, server = pair
    server.receive(client.inference_start("r", created_at=NOW))
    with pytest.raises(LocalProtocolError, match="code"):
        server.error("no", -1, created_at=NOW)
    data = server.error("the model\nfailed", 500, created_at=NOW, request_id="r")
    assert client.receive(data) == [ServerError("the model failed", 500, "r", NOW)]
    assert server.state is State.OPEN
    client.receive(server.error("going away", 503, created_at=NOW))
    assert client.state is server.state is State.CLOSED
    with pytest.raises(LocalProtocolError, match="error is not allowed in state closed"):
        server.error("again", 503, created_at=NOW)


@pytest.mark.parametrize("seconds", [253_402_300_798, 253_402_300_799, 2**62, -1])
def test_a_clock_at_the_end_of_time_gets_its_answer(server: ServerProtocol, seconds: int) -> None:
    message = pb.ClientMessage(inference_start=pb.InferenceStart(request_id="r"))
    message.created_at.seconds, message.created_at.nanos = seconds, 999_999_999
    server.receive(message.SerializeToString())
    assert server.eot_prediction("r", 0.5, created_at=NOW)


def test_limits_are_kept() -> None:
    limits = ProtocolLimits(max_languages=3)
    assert ServerProtocol(limits).limits is limits

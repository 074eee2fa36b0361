"""The client's end: what it sends, what it takes, and what it refuses."""

import math

import pytest
from livekit.protocol.agent_pb import agent_inference as pb

from eot_core.protocol import (
    Backend,
    ClientProtocol,
    Encoding,
    EotPrediction,
    ErrorCode,
    Ignored,
    InferenceStarted,
    InferenceStopped,
    LocalProtocolError,
    ProtocolError,
    ProtocolLimits,
    ServerError,
    SessionClosed,
    SessionCreated,
    State,
)

NOW = 1_700_000_000.25


def created(**kwargs: object) -> bytes:
    fields: dict[str, object] = {"default_thresholds": {"en": 0.56}, "default_threshold": 0.5}
    return pb.ServerMessage(session_created=pb.SessionCreated(**{**fields, **kwargs})).SerializeToString()


def prediction(probability: float = 0.5, request_id: str | None = "r1", **kwargs: object) -> bytes:
    message = pb.ServerMessage(eot_prediction=pb.EotPrediction(probability=probability, **kwargs))
    if request_id is not None:
        message.request_id = request_id
    return message.SerializeToString()


def error_code(events: list[object]) -> ErrorCode:
    (event,) = events
    assert isinstance(event, ProtocolError), event
    return event.code


@pytest.fixture
def creating() -> ClientProtocol:
    client = ClientProtocol()
    client.session_create(sample_rate=16000, created_at=NOW)
    return client


@pytest.fixture
def client(creating: ClientProtocol) -> ClientProtocol:
    creating.receive(created())
    assert creating.state is State.OPEN
    return creating


# ---- sending


def test_session_create_carries_rate_encoding_and_time() -> None:
    client = ClientProtocol()
    message = pb.ClientMessage.FromString(client.session_create(sample_rate=24000, created_at=NOW))
    assert message.session_create.settings.sample_rate == 24000
    assert message.session_create.settings.encoding == pb.AUDIO_ENCODING_PCM_S16LE
    assert (message.created_at.seconds, message.created_at.nanos) == (1_700_000_000, 250_000_000)
    assert client.state is State.CREATING


@pytest.mark.parametrize("rate", [0, 7999, 48001, -16000, 16000.0, "16000", None])
def test_session_create_refuses_a_sample_rate_that_is_none(rate: object) -> None:
    client = ClientProtocol()
    with pytest.raises(LocalProtocolError, match="sample_rate"):
        client.session_create(sample_rate=rate, created_at=NOW)  # type: ignore[arg-type]
    assert client.state is State.NEW


def test_session_create_refuses_opus() -> None:
    with pytest.raises(LocalProtocolError, match="encoding"):
        ClientProtocol().session_create(sample_rate=16000, created_at=NOW, encoding=Encoding.OPUS)


def test_audio_may_follow_session_create_at_once_and_keeps_both_times(creating: ClientProtocol) -> None:
    data = creating.input_audio(b"\x01\x00\x02\x00", captured_at=NOW - 0.25, created_at=NOW, num_samples=2)
    message = pb.ClientMessage.FromString(data)
    assert message.input_audio.audio == b"\x01\x00\x02\x00"
    assert message.input_audio.num_samples == 2
    assert message.input_audio.created_at.ToMilliseconds() == 1_700_000_000_000
    assert message.created_at.ToMilliseconds() == 1_700_000_000_250


@pytest.mark.parametrize("pcm", [b"", b"\0", b"\0" * 960_002])
def test_audio_that_cannot_be_sent_is_refused(client: ClientProtocol, pcm: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="pcm"):
        client.input_audio(pcm, captured_at=NOW, created_at=NOW)


def test_num_samples_must_fit(client: ClientProtocol) -> None:
    with pytest.raises(LocalProtocolError, match="num_samples must be 1"):
        client.input_audio(b"\0\0", captured_at=NOW, created_at=NOW, num_samples=2)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 1e18, "now", None])
def test_times_that_are_none_are_refused(client: ClientProtocol, seconds: object) -> None:
    with pytest.raises(LocalProtocolError, match="created_at"):
        client.session_flush(created_at=seconds)  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match="captured_at"):
        client.input_audio(b"\0\0", captured_at=seconds, created_at=NOW)  # type: ignore[arg-type]


def test_a_time_just_below_a_second_does_not_overflow_its_nanoseconds(client: ClientProtocol) -> None:
    message = pb.ClientMessage.FromString(client.session_flush(created_at=math.nextafter(5.0, 0.0)))
    assert message.created_at.seconds == 4
    assert message.created_at.nanos == 999_999_999


def test_requests_flush_and_close(client: ClientProtocol) -> None:
    start = pb.ClientMessage.FromString(client.inference_start("r1", created_at=NOW))
    stop = pb.ClientMessage.FromString(client.inference_stop("r1", created_at=NOW))
    flush = pb.ClientMessage.FromString(client.session_flush(created_at=NOW))
    close = pb.ClientMessage.FromString(client.session_close(created_at=NOW))
    assert start.inference_start.request_id == stop.inference_stop.request_id == "r1"
    assert flush.WhichOneof("message") == "session_flush"
    assert close.WhichOneof("message") == "session_close"
    assert client.state is State.CLOSING


@pytest.mark.parametrize("request_id", ["", "x" * 257, "a\nb", 7, None])
def test_request_ids_that_cannot_be_sent_are_refused(client: ClientProtocol, request_id: object) -> None:
    with pytest.raises(LocalProtocolError, match="request_id"):
        client.inference_start(request_id, created_at=NOW)  # type: ignore[arg-type]


def _calls(client: ClientProtocol) -> dict[str, object]:
    return {
        "session_create": lambda: client.session_create(sample_rate=16000, created_at=NOW),
        "input_audio": lambda: client.input_audio(b"\0\0", captured_at=NOW, created_at=NOW),
        "inference_start": lambda: client.inference_start("r", created_at=NOW),
        "inference_stop": lambda: client.inference_stop("r", created_at=NOW),
        "session_flush": lambda: client.session_flush(created_at=NOW),
        "session_close": lambda: client.session_close(created_at=NOW),
    }


@pytest.mark.parametrize("name", _calls(ClientProtocol()))
def test_nothing_is_sent_out_of_order(name: str) -> None:
    if name != "session_create":
        with pytest.raises(LocalProtocolError, match=f"{name} is not allowed in state new"):
            _calls(ClientProtocol())[name]()  # type: ignore[operator]
    closing, failed = ClientProtocol(), ClientProtocol()
    for client in (closing, failed):
        client.session_create(sample_rate=16000, created_at=NOW)
    closing.session_close(created_at=NOW)
    failed.receive("text")
    for client in (closing, failed):
        with pytest.raises(LocalProtocolError, match=f"{name} is not allowed in state"):
            _calls(client)[name]()  # type: ignore[operator]


# ---- receiving


def test_session_created_becomes_a_calibration(creating: ClientProtocol) -> None:
    (event,) = creating.receive(
        created(
            default_thresholds={"en-US": 0.9, "en": 0.56, "pt-BR": 0.4, "zh_Hans": 0.3, "multi": 0.1},
            default_backchannel_thresholds={"en": 0.7, "de": -1.0, "fr": math.nan, "es": 1.5},
            default_backchannel_threshold=0.8,
        )
    )
    assert isinstance(event, SessionCreated)
    assert event.calibration.thresholds == {"en": 0.56, "pt": 0.4, "zh": 0.3}
    assert event.calibration.default_threshold == 0.5
    assert event.calibration.backchannel_thresholds == {"en": 0.7, "de": 0.0, "fr": 0.0, "es": 0.0}
    assert event.calibration.default_backchannel_threshold == 0.8


@pytest.mark.parametrize("value", [0.0, -0.5, math.nan, math.inf, 1.5])
def test_a_backchannel_default_that_is_none_switches_backchannels_off(creating: ClientProtocol, value: float) -> None:
    (event,) = creating.receive(created(default_backchannel_threshold=value))
    assert isinstance(event, SessionCreated)
    assert event.calibration.default_backchannel_threshold is None


@pytest.mark.parametrize(
    "fields",
    [
        {"default_thresholds": {}},
        {"default_thresholds": {"multi": 0.5}},
        {"default_threshold": 0.0},
        {"default_threshold": -0.1},
        {"default_threshold": 1.01},
        {"default_threshold": math.nan},
        {"default_threshold": math.inf},
        {"default_thresholds": {"en": math.nan}},
        {"default_thresholds": {"en": 1.5}},
        {"default_thresholds": {"en": 0.5, "de": -0.5}},
        {"default_thresholds": {f"a{i}": 0.5 for i in range(513)}},
        {"default_backchannel_thresholds": {f"a{i}": 0.5 for i in range(513)}},
    ],
)
def test_unusable_thresholds_are_an_error(creating: ClientProtocol, fields: dict[str, object]) -> None:
    assert error_code(creating.receive(created(**fields))) is ErrorCode.UNUSABLE_THRESHOLDS
    assert creating.state is State.FAILED


def test_a_prediction_has_its_numbers_in_seconds(client: ClientProtocol) -> None:
    message = pb.ServerMessage(request_id="r1")
    message.server_created_at.FromMilliseconds(1_700_000_000_500)
    body = message.eot_prediction
    body.probability, body.backchannel_probability = 0.75, 0.25
    body.backend = pb.EotPrediction.EOT_BACKEND_MULTIMODAL
    body.inference_stats.earliest_client_created_at.FromMilliseconds(1_700_000_000_000)
    body.inference_stats.latest_client_created_at.FromMilliseconds(1_700_000_000_250)
    body.inference_stats.client_e2e_latency.FromMilliseconds(125)
    body.inference_stats.server_e2e_latency.FromMilliseconds(50)
    body.inference_stats.preprocessing_duration.FromMilliseconds(5)
    body.inference_stats.inference_duration.FromMilliseconds(40)
    (event,) = client.receive(message.SerializeToString())
    assert isinstance(event, EotPrediction)
    assert (event.request_id, event.probability, event.backchannel_probability) == ("r1", 0.75, 0.25)
    assert event.backend is Backend.MULTIMODAL
    assert event.created_at == 1_700_000_000.5
    stats = event.stats
    assert (stats.earliest_client_created_at, stats.latest_client_created_at) == (1_700_000_000.0, 1_700_000_000.25)
    assert stats.client_e2e_latency == 0.125
    assert (stats.server_e2e_latency, stats.preprocessing_duration, stats.inference_duration) == (0.05, 0.005, 0.04)


def test_what_a_prediction_leaves_out(client: ClientProtocol) -> None:
    (event,) = client.receive(prediction(request_id=None))
    assert isinstance(event, EotPrediction)
    assert (event.request_id, event.backchannel_probability, event.backend) == ("", 0.0, Backend.UNKNOWN)
    assert event.created_at is event.stats.latest_client_created_at is event.stats.client_e2e_latency is None


def test_absurd_stats_do_not_spoil_a_good_prediction(client: ClientProtocol) -> None:
    stats = pb.InferenceStats()
    stats.earliest_client_created_at.seconds = -1
    stats.latest_client_created_at.seconds = 2**62
    stats.client_e2e_latency.seconds = -5
    stats.server_e2e_latency.seconds = 2**62
    stats.inference_duration.nanos = -7
    (event,) = client.receive(prediction(inference_stats=stats, backend=99, backchannel_probability=math.nan))
    assert isinstance(event, EotPrediction)
    assert event.probability == 0.5
    assert event.backchannel_probability is None
    assert event.stats.earliest_client_created_at is event.stats.latest_client_created_at is None
    assert event.stats.client_e2e_latency is None
    assert event.stats.server_e2e_latency == event.stats.inference_duration == 0.0


@pytest.mark.parametrize("probability", [math.nan, math.inf, -math.inf, -0.01, 1.01, 1e30])
def test_a_probability_that_is_none_is_an_error(client: ClientProtocol, probability: float) -> None:
    (event,) = client.receive(prediction(probability))
    assert isinstance(event, ProtocolError)
    assert event.code is ErrorCode.BAD_PROBABILITY
    assert event.request_id == "r1"


def test_rounding_is_forgiven(client: ClientProtocol) -> None:
    (event,) = client.receive(prediction(1.0000001))
    assert isinstance(event, EotPrediction)
    assert event.probability == 1.0


def test_started_stopped_error_and_closed(client: ClientProtocol) -> None:
    started = pb.ServerMessage(request_id="r1", inference_started=pb.InferenceStarted())
    stopped = pb.ServerMessage(request_id="r1", inference_stopped=pb.InferenceStopped())
    failure = pb.ServerMessage(request_id="r1", error=pb.InferenceError(message="a\nb\x00" + "c" * 999, code=503))
    closed = pb.ServerMessage(session_closed=pb.SessionClosed())
    assert client.receive(started.SerializeToString()) == [InferenceStarted("r1")]
    assert client.receive(stopped.SerializeToString()) == [InferenceStopped("r1")]
    (event,) = client.receive(failure.SerializeToString())
    assert isinstance(event, ServerError)
    assert (event.code, event.request_id, len(event.message)) == (503, "r1", 500)
    assert event.message.startswith("a b c")
    assert client.state is State.OPEN, "the error was of one request"
    assert client.receive(closed.SerializeToString()) == [SessionClosed()]
    assert client.state is State.CLOSED
    assert error_code(client.receive(prediction())) is ErrorCode.AFTER_CLOSE


def test_an_error_of_the_session_closes_it(creating: ClientProtocol) -> None:
    failure = pb.ServerMessage(error=pb.InferenceError(message="quota", code=429))
    assert creating.receive(failure.SerializeToString()) == [ServerError("quota", 429)]
    assert creating.state is State.CLOSED


@pytest.mark.parametrize("kind", ["inference_started", "inference_stopped", "eot_prediction"])
def test_nothing_is_taken_before_session_created(creating: ClientProtocol, kind: str) -> None:
    message = pb.ServerMessage(request_id="r1")
    getattr(message, kind).SetInParent()
    assert error_code(creating.receive(message.SerializeToString())) is ErrorCode.OUT_OF_ORDER


def test_nothing_is_taken_before_session_create() -> None:
    assert error_code(ClientProtocol().receive(created())) is ErrorCode.OUT_OF_ORDER


def test_a_second_session_created_is_an_error(client: ClientProtocol) -> None:
    assert error_code(client.receive(created())) is ErrorCode.OUT_OF_ORDER


def test_answers_may_still_come_while_closing(client: ClientProtocol) -> None:
    client.session_close(created_at=NOW)
    assert isinstance(client.receive(prediction())[0], EotPrediction)
    assert client.state is State.CLOSING


def test_session_created_may_cross_session_close(creating: ClientProtocol) -> None:
    creating.session_close(created_at=NOW)
    assert isinstance(creating.receive(created())[0], SessionCreated)
    assert creating.state is State.CLOSING


def test_what_this_client_does_not_use_is_ignored(client: ClientProtocol) -> None:
    other = pb.ServerMessage(interruption_prediction=pb.InterruptionPrediction(is_interruption=True))
    assert client.receive(other.SerializeToString()) == [Ignored("interruption_prediction")]
    assert client.receive(b"") == [Ignored("unknown")]
    assert client.receive(b"\xa2\x06\x00") == [Ignored("unknown")], "field 100, of a protocol to come"
    assert client.state is State.OPEN


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("text", ErrorCode.TEXT_FRAME),
        (b"\xff\xff", ErrorCode.MALFORMED),
        (7, ErrorCode.MALFORMED),
        (None, ErrorCode.MALFORMED),
        (b"\0" * ((1 << 20) + 1), ErrorCode.MESSAGE_TOO_LARGE),
        (memoryview(b"\xff\xff"), ErrorCode.MALFORMED),
    ],
)
def test_frames_that_are_no_messages(client: ClientProtocol, data: object, code: ErrorCode) -> None:
    assert error_code(client.receive(data)) is code  # type: ignore[arg-type]
    assert client.state is State.FAILED
    assert client.receive(prediction()) == [], "nothing is read after a failure"


@pytest.mark.parametrize("request_id", ["x" * 257, "a\nb"])
def test_request_ids_fit_for_no_log_are_an_error(client: ClientProtocol, request_id: str) -> None:
    assert error_code(client.receive(prediction(request_id=request_id))) is ErrorCode.BAD_REQUEST_ID


def test_limits_are_checked_and_kept() -> None:
    assert ClientProtocol(ProtocolLimits(max_message_bytes=10)).limits.max_message_bytes == 10
    for value in (0, -1, 1.5, True, None):
        with pytest.raises(ValueError, match="max_languages"):
            ProtocolLimits(max_languages=value)  # type: ignore[arg-type]

"""The detector, as ``AgentSession(turn_detection=...)`` takes it."""

from __future__ import annotations

import logging
import os
import ssl as ssl_module
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import aiohttp
from livekit.agents import NOT_GIVEN, APIConnectOptions, LanguageCode, NotGivenOr, inference
from livekit.agents.metrics import EOTInferenceMetrics
from livekit.agents.metrics.base import Metadata
from livekit.agents.utils import is_given

from eot_core import EndpointingOptions, FallbackOptions, ModelSpec, OperatingPoint, Outcome, Prediction
from eot_core.cloud import DEFAULT_CONNECT_TIMEOUT
from eot_core.detector import DEFAULT_PREDICTION_TIMEOUT
from eot_core.detector_options import Version
from eot_core.emitter import EVENTS
from eot_core.operating_points import Name as OperatingPointName
from eot_core.options import check_seconds

from .core import Core, with_retries
from .recognition import MetricsListener, is_of_a_session
from .stream import TurnDetectorStream

logger = logging.getLogger("adapters.livekit")

Thresholds = float | Mapping[LanguageCode | str, float] | Mapping[LanguageCode, float] | Mapping[str, float]
"""One for every language, or one per BCP-47 tag; 0..1."""


class TurnDetector(inference.TurnDetector):
    """Decides when the user has finished speaking; takes the place of ``livekit.agents.inference.TurnDetector``.

    Constructing one loads no weights and opens no connection. Streams share nothing that changes: what happens to one
    is never felt by another.

    Events, for ``on``:

    - "metrics_collected": :class:`livekit.agents.metrics.EOTInferenceMetrics`, once for each prediction that a model
      answered, on local models too. ``total_duration`` is the time from request to answer, ``detection_delay`` that
      from the newest audio in the request to the answer, and ``prediction_duration`` the model's own work, in seconds.
      ``metadata`` names the model that answered, also after a fallback.
    - "prediction", "fallback" and "backchannel_opportunity": :class:`eot_core.Prediction` (answered or default),
      :class:`eot_core.FallbackOccurred` and :class:`eot_core.BackchannelOpportunity`.
    """

    def __init__(
        self,
        *,
        version: NotGivenOr[Version | None] = NOT_GIVEN,
        model: NotGivenOr[str | os.PathLike[str] | ModelSpec | None] = NOT_GIVEN,
        unlikely_threshold: NotGivenOr[Thresholds | None] = NOT_GIVEN,
        backchannel_threshold: NotGivenOr[Thresholds | None] = NOT_GIVEN,
        base_url: NotGivenOr[str | None] = NOT_GIVEN,
        api_key: NotGivenOr[str | None] = NOT_GIVEN,
        api_secret: NotGivenOr[str | None] = NOT_GIVEN,
        sample_rate: NotGivenOr[int] = NOT_GIVEN,
        local_fallback: NotGivenOr[bool] = NOT_GIVEN,
        prediction_timeout: NotGivenOr[float] = NOT_GIVEN,
        http_session: NotGivenOr[aiohttp.ClientSession | None] = NOT_GIVEN,
        conn_options: NotGivenOr[APIConnectOptions | None] = NOT_GIVEN,
        ssl: NotGivenOr[ssl_module.SSLContext | bool | None] = NOT_GIVEN,
        fallback: NotGivenOr[FallbackOptions | None] = NOT_GIVEN,
        fallback_model: NotGivenOr[str | os.PathLike[str] | ModelSpec | None] = NOT_GIVEN,
        operating_point: NotGivenOr[OperatingPointName | OperatingPoint | None] = NOT_GIVEN,
        calibration: NotGivenOr[str | os.PathLike[str] | None] = NOT_GIVEN,
        endpointing: NotGivenOr[EndpointingOptions | None] = NOT_GIVEN,
    ) -> None:
        """
        Args:
            version: "v1" pins the cloud's model, "v1-mini" the local one. Not given: the cloud's where the agent is
                hosted, in development mode or pointed at a gateway, and has credentials; else v1-mini.
            model: a model by its full name ("turn-detector-v1", "turn-detector-v1-mini", "smart-turn-v3.2"), the path
                of an ONNX file, or an :class:`eot_core.ModelSpec`; pins it.
            unlikely_threshold: 0..1, instead of the calibrated ones, for every language or per BCP-47 tag. Meant for
                the model that is chosen; rescaled when another takes over.
            backchannel_threshold: the same for backchannels. 0 switches them off.
            base_url: of the gateway; not given: ``LIVEKIT_INFERENCE_URL``, then LiveKit Inference.
            api_key: not given: ``LIVEKIT_INFERENCE_API_KEY``, then ``LIVEKIT_API_KEY``.
            api_secret: not given: ``LIVEKIT_INFERENCE_API_SECRET``, then ``LIVEKIT_API_SECRET``.
            sample_rate: on the wire to the gateway, in Hz; 16,000 if not given. Frames of any rate may be pushed.
            local_fallback: whether a local model takes over when the cloud fails; True if not given.
            prediction_timeout: seconds from a request to its answer, at most; 1.0 if not given, as in LiveKit.
            http_session: to connect with; it stays yours to close. Not given: the job's, or a session of our own
                outside of a job.
            conn_options: ``timeout`` is that for connection and handshake. ``max_retry`` connections are tried again
                after a failure that may pass, the first after ``retry_interval`` seconds, each further one after twice
                as long; the local model answers meanwhile. ``fallback`` decides about retries where it is given too.
                Not given: 10 s and no retries, which is what LiveKit's detector does.
            ssl: a context with a private CA; False switches the check off, for development.
            fallback: the finer points of ``local_fallback``.
            fallback_model: the local model that takes over from the cloud; v1-mini if not given.
            operating_point: "quick", "balanced", "patient", or an :class:`eot_core.OperatingPoint`: threshold and
                delays for whichever model and language is active. The moment is then decided here and not by the
                session. A ``min_delay`` or ``max_delay`` that session or agent were given
                (``turn_handling["endpointing"]``) goes before the point's, and no turn ends before the session's
                ``min_delay``, given or not.
            calibration: a file that ``eot tune`` wrote, to take operating points from; alone it means "balanced".
            endpointing: delays of your own, instead of the operating point's and the session's; decided here too,
                with the same least delay. Not given, and without an operating point: the session's.

        Raises:
            ValueError: an argument is out of range, a name is unknown, ``version`` and ``model`` disagree, or the cloud
                is pinned and credentials are missing.
            TypeError: an argument is of the wrong type.
            ModelError: without a cloud: the weights of the local model are not installed, or are others than those
                that were measured; the message says what to install. With one, that is a warning.
        """
        session = _checked(http_session, "http_session", aiohttp.ClientSession)
        connection = _checked(conn_options, "conn_options", APIConnectOptions)
        if connection is not None:
            check_seconds(connection.timeout, "conn_options.timeout", positive=True)
        may_fall_back = _given(local_fallback, True)
        finer_points = _given(fallback, None)
        if finer_points is None and connection is not None and isinstance(may_fall_back, bool):
            finer_points = with_retries(FallbackOptions(enabled=may_fall_back), connection)
        # AgentActivity collects metrics only from instances of LiveKit's class; as v1-mini it loads and warns nothing.
        super().__init__(version="v1-mini")
        self._sessions: dict[MetricsListener, None] = {}
        """Of those that LiveKit has connected, in order."""
        self._streams: weakref.WeakSet[TurnDetectorStream] = weakref.WeakSet()
        self._lock = threading.Lock()  # jobs may be in threads of one process
        self._core = Core(
            version=_checked(version, "version", str),
            model=_given(model, None),
            unlikely_threshold=_given(unlikely_threshold, None),
            backchannel_threshold=_given(backchannel_threshold, None),
            base_url=_checked(base_url, "base_url", str),
            api_key=_checked(api_key, "api_key", str),
            api_secret=_checked(api_secret, "api_secret", str),
            sample_rate=_given(sample_rate, 16_000),
            local_fallback=may_fall_back,
            prediction_timeout=_given(prediction_timeout, DEFAULT_PREDICTION_TIMEOUT),
            http_session=session,
            connect_timeout=DEFAULT_CONNECT_TIMEOUT if connection is None else connection.timeout,
            ssl=_checked(ssl, "ssl", ssl_module.SSLContext, bool),
            fallback=finer_points,
            fallback_model=_given(fallback_model, None),
            operating_point=_given(operating_point, None),
            calibration=_given(calibration, None),
            endpointing=_given(endpointing, None),
        )
        for event in ("fallback", "backchannel_opportunity"):
            self._core.on(event, partial(self._announce, event))

    # -- what can be asked ----------------------------------------------------------------------------------------

    @property
    def model(self) -> str:  # type: ignore[override]
        """Full name of the model that runs: the one that streams start with, or where every open stream left it for
        the same other one, that. LiveKit names it in the metrics of each turn (``EOUMetrics``)."""
        return self._running[0]

    @property
    def provider(self) -> str:
        """Who publishes that model: "livekit" for v1 and v1-mini."""
        return self._running[1]

    @property
    def _running(self) -> tuple[str, str]:
        local = self._core.local_model
        with self._lock:
            streams = list(self._streams)
        active = {stream.model for stream in streams if not stream.closed}
        if local is not None and active == {local.name}:
            return local.name, local.provider
        return self._core.model, self._core.provider

    def describe_options(self) -> dict[str, Any]:
        """What LiveKit's session report shows: no credentials, no endpoints."""
        return self._core.describe_options()

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.describe_options().items())
        return f"{type(self).__name__}({options})"

    async def unlikely_threshold(self, language: LanguageCode | None) -> float | None:
        """Threshold, 0..1, that streams start with; None while the cloud has not told its own. Streams tell theirs."""
        return self._core.initial_thresholds.lookup(language)

    async def backchannel_threshold(self, language: LanguageCode | None) -> float | None:
        """The same for backchannels."""
        return self._core.initial_thresholds.lookup_backchannel(language)

    async def supports_language(self, language: LanguageCode | None) -> bool:
        """Whether the model was made for the language, or a threshold was given for it."""
        return self._core.initial_thresholds.supports(language)

    # -- use ------------------------------------------------------------------------------------------------------

    def stream(  # type: ignore[override]
        self, *, conn_options: NotGivenOr[APIConnectOptions | None] = NOT_GIVEN
    ) -> TurnDetectorStream:
        """A stream for one conversation, on the running event loop.

        LiveKit opens one for each session and keeps it through handoffs between agents with the same detector. The
        metrics of its predictions are counted by that session, and by no other that shares the detector.

        Args:
            conn_options: instead of the detector's, for this stream.

        Raises:
            RuntimeError: no event loop is running.
        """
        core = self._core.open_stream(_checked(conn_options, "conn_options", APIConnectOptions))
        stream = TurnDetectorStream(core)
        core.on("prediction", partial(self._on_prediction, weakref.ref(stream)))
        with self._lock:
            self._streams.add(stream)
        return stream

    def update_options(
        self,
        *,
        unlikely_threshold: NotGivenOr[Thresholds | None] = NOT_GIVEN,
        backchannel_threshold: NotGivenOr[Thresholds | None] = NOT_GIVEN,
    ) -> None:
        """Other thresholds, for the streams to come and for those that are open, before or after a fallback.

        They are on the scale of the model that streams start with. What is not given stays; ``{}`` brings the
        calibrated ones back.

        Raises:
            ValueError: a threshold is not between 0 and 1, or a key names no language. Nothing has changed then.
        """
        self._core.update_options(
            unlikely_threshold=_given(unlikely_threshold, None),
            backchannel_threshold=_given(backchannel_threshold, None),
        )

    def warm_up(self) -> None:
        """Load the local model and run it once, now, in this thread, e.g. in a worker's ``prewarm_fnc``.

        Raises:
            ModelError: the model cannot be loaded; the message says what to install.
        """
        self._core.warm_up()

    def on(self, event: Any, callback: Callable[..., Any] | None = None) -> Callable[..., Any]:
        """Listen to an event (see the class); without ``callback``, a decorator.

        Raises:
            ValueError: there is no such event, or the callback is a coroutine function.
            TypeError: the callback cannot be called.
        """
        if event not in (*EVENTS, "metrics_collected"):
            raise ValueError(f"event must be one of metrics_collected, {', '.join(EVENTS)}, got {event!r}")
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable, got {type(callback).__name__}")
        if event == "metrics_collected" and is_of_a_session(callback):
            assert callback is not None
            self._sessions[callback] = None
            return callback
        return super().on(event, callback)

    def off(self, event: Any, callback: Callable[..., Any]) -> None:
        """Listen no more."""
        if event == "metrics_collected":
            self._sessions.pop(callback, None)
        super().off(event, callback)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _announce(self, event: Any, payload: object) -> None:
        try:
            self.emit(event, payload)
        except TypeError:  # LiveKit's emitter logs whatever else a listener raises
            logger.exception("a listener for %r raised", event)

    def _on_prediction(self, stream: weakref.ref[TurnDetectorStream], prediction: Prediction) -> None:
        if prediction.outcome is Outcome.ANSWERED:
            metrics = EOTInferenceMetrics(
                timestamp=time.time(),
                total_duration=prediction.total_time,
                detection_delay=prediction.detection_delay,
                prediction_duration=prediction.inference_time,
                num_requests=1,
                metadata=Metadata(
                    model_name=prediction.model,
                    model_provider=self._core.provider_of(prediction),
                ),
            )
            self._announce("metrics_collected", metrics)
            asked = stream()
            mine = None if asked is None else asked.metrics_listener
            for listener in list(self._sessions) if mine is None else [mine]:
                try:
                    listener(metrics)
                except Exception:
                    logger.exception("the session could not count metrics")
        self._announce("prediction", prediction)


def _given(value: Any, default: Any) -> Any:
    return value if is_given(value) else default


def _checked(value: Any, name: str, *types: type) -> Any:
    """``value``, or None where it is not given.

    Raises:
        TypeError: it is of another type; the message names the argument, not the value.
    """
    if value is None or not is_given(value):
        return None
    if not isinstance(value, types):
        wanted = " or ".join(kind.__name__ for kind in types)
        raise TypeError(f"{name} must be {wanted} or None, got {type(value).__name__}")
    return value

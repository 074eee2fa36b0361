"""The detector: options that are set once, and a stream for each conversation."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import uuid
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .audio import check_sample_rate
from .clock import Clock, LoopClock
from .cloud import (
    CLOUD_MODEL,
    DEFAULT_CONNECT_TIMEOUT,
    CloudOptions,
    Headers,
    check_connection,
    check_url,
    select,
)
from .detector_options import Version
from .effects import Route
from .emitter import Emitter, Observable
from .endpointing import EndpointingOptions
from .models.base import ModelError, ModelSpec
from .once import warn_once
from .options import FallbackOptions, check_bool, check_seconds
from .session import DetectorSession
from .settings import SessionOptions
from .stream import DetectorStream
from .thresholds import Overrides, Thresholds, normalize_overrides
from .transports.base import Calibration, Transport

if TYPE_CHECKING:
    import ssl as ssl_module

    import aiohttp

    from .operating_points import Name, OperatingPoint

logger = logging.getLogger("eot_core")

DEFAULT_PREDICTION_TIMEOUT = 1.0
"""Seconds; livekit-agents' DEFAULT_PREDICTION_TIMEOUT."""

_VERSIONS = {"v1": CLOUD_MODEL, "v1-mini": "turn-detector-v1-mini"}


class TurnDetector(Observable):
    """Decides when the user has finished speaking. One for an application; :meth:`stream` for each conversation.

    Constructing one loads no weights and opens no connection; it checks that the weights are there.
    """

    def __init__(
        self,
        *,
        version: Version | None = None,
        model: str | os.PathLike[str] | ModelSpec | None = None,
        unlikely_threshold: Overrides | None = None,
        backchannel_threshold: Overrides | None = None,
        sample_rate: int = 16_000,
        local_fallback: bool = True,
        prediction_timeout: float = DEFAULT_PREDICTION_TIMEOUT,
        base_url: str | None = None,
        api_key: str | None = None,
        api_secret: str | None = None,
        http_session: aiohttp.ClientSession | Callable[[], aiohttp.ClientSession | None] | None = None,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
        ssl: ssl_module.SSLContext | bool | None = None,
        headers: Headers | None = None,
        fallback: FallbackOptions | None = None,
        fallback_model: str | os.PathLike[str] | ModelSpec | None = None,
        operating_point: Name | OperatingPoint | None = None,
        calibration: str | os.PathLike[str] | None = None,
        endpointing: EndpointingOptions | None = None,
        clock: Clock | None = None,
    ) -> None:
        """
        Args:
            version: "v1" pins the cloud's model. None: see :func:`eot_core.cloud.select`.
            model: a model by its full name ("turn-detector-v1", "smart-turn-v3.2"), the path of an ONNX file (window
                8 s; :func:`eot_core.models.onnx_file.onnx_file` declares another), or a :class:`ModelSpec`; pins it.
                None: the cloud's where it is configured, else the default local model.
            unlikely_threshold: 0..1, instead of the calibrated ones; for every language, or per BCP-47 tag. It is
                meant for the model that is chosen, and rescaled when another takes over.
            backchannel_threshold: the same for backchannels. 0 switches them off.
            sample_rate: on the wire to the cloud, in Hz, 8,000 to 48,000. Audio of any rate may be pushed.
            local_fallback: whether a local model takes over when the cloud fails.
            prediction_timeout: seconds from a request to its answer, at most; then the default, 1.0, goes out.
            base_url: of the gateway; None: ``LIVEKIT_INFERENCE_URL``, then LiveKit Inference.
            api_key: None: ``LIVEKIT_INFERENCE_API_KEY``, then ``LIVEKIT_API_KEY``.
            api_secret: None: ``LIVEKIT_INFERENCE_API_SECRET``, then ``LIVEKIT_API_SECRET``.
            http_session: an aiohttp session to connect with, or what gives it when it is needed; it stays the
                caller's to close.
            connect_timeout: seconds for connection and handshake.
            ssl: a context with a private CA.
            headers: more headers for the handshake, or a function that gives them.
            fallback: the finer points of ``local_fallback``.
            fallback_model: the local model that takes over from the cloud. None: the default local model.
            operating_point: "quick", "balanced", "patient", or an :class:`~eot_core.operating_points.OperatingPoint`:
                threshold and delays for whichever model and language is active, also after a fallback. An explicit
                ``unlikely_threshold`` or ``endpointing`` goes before it. None: the calibrated threshold and the
                framework's own delays.
            calibration: a file that ``eot tune`` wrote, to take operating points from, and the heads that it has for
                the local model; alone it means "balanced" for the models that it has, and nothing for others.
            endpointing: the delays; None: the operating point's, or the framework's own.
            clock: time and timers; None: those of the event loop.

        Raises:
            ValueError: an argument is out of range, a name is unknown, ``version`` and ``model`` disagree, or the cloud
                is pinned and credentials are missing; nothing was measured of the model for the operating point.
            TypeError: an argument is of the wrong type.
            ModelLicenseError: the model's licence does not allow it to run here (a ValueError too).
            ModelError: without a cloud: the weights of the local model are not installed, or are others than those
                that were measured; the message says what to install. With one, that is a warning.
        """
        self._emitter = Emitter()
        self._warned: set[str] = set()
        self._streams: weakref.WeakSet[DetectorStream] = weakref.WeakSet()
        self._streams_lock = threading.Lock()  # each stream may be on a loop, and in a thread, of its own
        self._overrides = normalize_overrides(unlikely_threshold, "unlikely_threshold")
        self._backchannel_overrides = normalize_overrides(backchannel_threshold, "backchannel_threshold")
        self._prediction_timeout = check_seconds(prediction_timeout, "prediction_timeout", positive=True)
        check_bool(local_fallback, "local_fallback")
        if fallback is not None and not isinstance(fallback, FallbackOptions):
            raise TypeError(f"fallback must be FallbackOptions, got {type(fallback).__name__}")
        if fallback is not None and fallback.enabled and not local_fallback:
            raise ValueError("local_fallback is False but fallback.enabled is True: set both to the same")
        self._fallback = fallback or FallbackOptions(enabled=local_fallback)
        if clock is not None and not (callable(getattr(clock, "now", None)) and hasattr(clock, "call_at")):
            raise TypeError(f"clock must be an eot_core.clock.Clock, got {type(clock).__name__}")
        self._clock = clock
        check_connection(api_key, api_secret, http_session, ssl, headers)
        sample_rate = check_sample_rate(sample_rate)
        connect_timeout = check_seconds(connect_timeout, "connect_timeout", positive=True)
        if base_url is not None:
            check_url(base_url)
        pinned, model = _reconcile(version, model)
        self._cloud: CloudOptions | None = None
        self._selected_because = "model was given"
        if model is None or pinned == "v1":
            selection = select(version=pinned, base_url=base_url, api_key=api_key, api_secret=api_secret)
            self._selected_because = selection.reason
            if selection.warning:
                logger.warning(selection.warning)
            if selection.cloud:
                assert selection.base_url is not None
                assert selection.api_key is not None
                assert selection.api_secret is not None
                self._cloud = CloudOptions(
                    base_url=selection.base_url,
                    api_key=selection.api_key,
                    api_secret=selection.api_secret,
                    sample_rate=sample_rate,
                    connect_timeout=connect_timeout,
                    http_session=http_session,
                    ssl=ssl,
                    headers=headers,
                )
        if fallback_model is not None:  # said also where it will not be needed
            fallback_model = self._resolve_model(fallback_model)
        chosen = fallback_model if self._cloud is not None else model
        self._local: ModelSpec | None = None
        if self._cloud is None or self._fallback.enabled:
            self._local = self._resolve_model(self._default_local_model() if chosen is None else chosen)
        if self._cloud is None and not self._fallback.enabled:
            logger.warning("local_fallback=False has no effect: %s runs locally by design", self.model)
        if endpointing is not None and not isinstance(endpointing, EndpointingOptions):
            raise TypeError(f"endpointing must be EndpointingOptions, got {type(endpointing).__name__}")
        self._endpointing = endpointing
        self._check_local()
        self._point = self._check_point(operating_point, calibration)  # may give the local model heads of one's own
        self._warn_overrides(self._overrides, self._backchannel_overrides)

    # -- for adapters to override ---------------------------------------------------------------------------------

    def _default_local_model(self) -> str | ModelSpec:
        from .models.registry import default_model

        return default_model()

    def _resolve_model(self, model: str | os.PathLike[str] | ModelSpec) -> ModelSpec:
        from .models.registry import resolve_model

        return resolve_model(model)

    # -- what can be asked ----------------------------------------------------------------------------------------

    @property
    def model(self) -> str:
        """Full name of the model that streams start with."""
        return CLOUD_MODEL if self._cloud is not None or self._local is None else self._local.name

    @property
    def provider(self) -> str:
        """Who publishes that model: "livekit" for the cloud's."""
        return "livekit" if self._cloud is not None or self._local is None else self._local.provider

    @property
    def local_model(self) -> ModelSpec | None:
        """The local model: the only one, or the one that takes over from the cloud. None: no fallback."""
        return self._local

    @property
    def selected_because(self) -> str:
        """Why this model, in words, without secrets."""
        return self._selected_because

    @property
    def prediction_timeout(self) -> float:
        """Seconds from a request to its answer, at most."""
        return self._prediction_timeout

    @property
    def endpointing(self) -> EndpointingOptions | None:
        """The delays that were given; None: the operating point's, or the framework's own."""
        return self._endpointing

    @property
    def clock(self) -> Clock | None:
        """The clock given; None for the event loop's."""
        return self._clock

    def describe_options(self) -> dict[str, Any]:
        """What a report may show: no credentials, no endpoints."""
        options: dict[str, Any] = {
            "model": self.model,
            "provider": self.provider,
            "prediction_timeout": self._prediction_timeout,
            "local_fallback": self._fallback.enabled,
        }
        if self._cloud is not None:
            options["sample_rate"] = self._cloud.sample_rate
            options["fallback_model"] = self._local.name if self._local else None
        if self._point is not None:
            options["operating_point"] = self._point.description
        if self._local is not None and self._local.heads:
            options["heads"] = {language: sha256[:12] for language, sha256 in self._local.heads.items()}
        if self._endpointing is not None:
            options["endpointing"] = {
                "min_delay": self._endpointing.min_delay,
                "max_delay": self._endpointing.max_delay,
            }
        if self._overrides is not None:
            options["threshold_overrides"] = _plain(self._overrides)
        if self._backchannel_overrides is not None:
            options["backchannel_threshold_overrides"] = _plain(self._backchannel_overrides)
        return options

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.describe_options().items())
        return f"{type(self).__name__}({options})"

    # -- use ------------------------------------------------------------------------------------------------------

    def stream(self) -> DetectorStream:
        """A stream for one conversation, on the running event loop. Close it with :meth:`DetectorStream.aclose`.

        Raises:
            RuntimeError: no event loop is running.
        """
        return self._stream(self._cloud, self._fallback)

    def _stream(self, cloud: CloudOptions | None, fallback: FallbackOptions) -> DetectorStream:
        """A stream with connection and fallback options of its own."""
        clock = self._clock or LoopClock(asyncio.get_running_loop())
        session = DetectorSession(
            SessionOptions(
                cloud_model=CLOUD_MODEL if cloud is not None else None,
                local=self._local,
                prediction_timeout=self._prediction_timeout,
                fallback=fallback,
                operating_point=self._point,
                endpointing=self._endpointing,
            ),
            self._thresholds(),
            session_id=f"eot_{uuid.uuid4().hex[:12]}",
        )
        stream = DetectorStream(
            session,
            lambda route: self._make_transport(route, cloud, clock),
            clock=clock,
            provider=self.provider,
            prediction_timeout=self._prediction_timeout,
            parent=self._emitter,
        )
        with self._streams_lock:
            self._streams.add(stream)
        return stream

    def update_options(
        self,
        *,
        unlikely_threshold: Overrides | None = None,
        backchannel_threshold: Overrides | None = None,
    ) -> None:
        """Other thresholds, for the streams to come and for those that are open. What is None stays.

        Raises:
            ValueError: a threshold is not between 0 and 1, or a key names no language. Nothing has changed then.
        """
        overrides = normalize_overrides(unlikely_threshold, "unlikely_threshold")
        backchannel_overrides = normalize_overrides(backchannel_threshold, "backchannel_threshold")
        if unlikely_threshold is not None:
            self._overrides = overrides
        if backchannel_threshold is not None:
            self._backchannel_overrides = backchannel_overrides
        with self._streams_lock:
            streams = list(self._streams)
        for stream in streams:
            stream.update_options(unlikely_threshold=unlikely_threshold, backchannel_threshold=backchannel_threshold)
        self._warn_overrides(overrides, backchannel_overrides)

    def warm_up(self) -> None:
        """Load the local model and run it once, now, in this thread: for a worker's start. A second or so.

        Raises:
            ModelError: the model cannot be loaded; the message says what to install.
        """
        if self._local is not None:
            from .models.handle import model_handle

            model_handle(self._local).warm_up()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _check_point(
        self, operating_point: Name | OperatingPoint | None, calibration: str | os.PathLike[str] | None
    ) -> OperatingPoint | None:
        if operating_point is None and calibration is None:
            return None
        from .operating_points import OperatingPoint
        from .own_calibration import apply_calibration

        point = OperatingPoint.parse("balanced" if operating_point is None else operating_point)
        if calibration is not None:  # alone, it is about the models that it has, and no other
            point = replace(point, calibration=calibration, published=point.published and operating_point is not None)
        names = [self.model, *([self._local.name] if self._local is not None else [])]
        point, self._local = apply_calibration(point, self._local, names)
        if operating_point is None:
            return point if any(point.knows(name) for name in names) else None
        point.resolve(self.model)
        if self._local is not None and not point.knows(self._local.name):
            logger.warning(
                "no operating point was measured for %s: if it takes over from %s, its calibrated threshold and the "
                "framework's own delays hold",
                self._local.name,
                self.model,
            )
        return point

    def _check_local(self) -> None:
        """Where the weights are missing, now is the time to say so: in a call every pause would end the turn."""
        if self._local is None:
            return
        try:
            self._local.check()
        except ModelError as error:
            if self._cloud is None:
                raise
            warn_once(
                logger,
                "%s cannot take over when the cloud fails, and every pause will then end the turn: %s",
                self._local.name,
                str(error),
            )

    def _thresholds(self) -> Thresholds:
        calibration: Calibration | None = None
        if self._cloud is None and self._local is not None:
            calibration = Calibration(self._local.thresholds, self._local.default_threshold)
        return Thresholds(
            model=self.model,
            calibration=calibration,
            overrides=self._overrides,
            backchannel_overrides=self._backchannel_overrides,
            backchannels=self._cloud is not None,
        )

    def _make_transport(self, route: Route, cloud: CloudOptions | None, clock: Clock) -> Transport:
        if route is Route.CLOUD:
            from .transports.websocket import WebSocketTransport

            assert cloud is not None
            return WebSocketTransport(cloud, clock=clock)
        from .transports.local import LocalTransport

        assert self._local is not None
        return LocalTransport(self._local, clock=clock)

    def _warn_overrides(self, overrides: Overrides | None, backchannel_overrides: Overrides | None) -> None:
        for name, value in (("unlikely_threshold", overrides), ("backchannel_threshold", backchannel_overrides)):
            if value is not None and name not in self._warned:
                self._warned.add(name)
                logger.warning(
                    "%s=%s replaces the calibrated thresholds of %s; they were measured, so measure yours too",
                    name,
                    _plain(value),
                    self.model,
                )


def _plain(value: Overrides) -> float | dict[str, float]:
    return dict(value) if isinstance(value, Mapping) else value


def _reconcile(
    version: str | None, model: str | os.PathLike[str] | ModelSpec | None
) -> tuple[str | None, str | os.PathLike[str] | ModelSpec | None]:
    """``version`` and ``model`` are two ways to say the same; make them agree.

    Returns:
        ("v1", None) for the cloud's model, (None, model) for a local one, (None, None) for an automatic choice.
    """
    if version is not None and version not in _VERSIONS and version not in _VERSIONS.values():
        raise ValueError(f"version must be one of {', '.join(map(repr, _VERSIONS))}, got {version!r}")
    named = None if version is None else _VERSIONS.get(version, version)
    if named is not None and model is not None and model not in (named, version):
        raise ValueError(f"version={version!r} and model={model!r} name different models: give one of them")
    wanted = named if named is not None else model
    if wanted in (CLOUD_MODEL, "v1"):
        return "v1", None
    return None, wanted

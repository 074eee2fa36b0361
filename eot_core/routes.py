"""The two ways to a model: which one is taken, which are open, and what is said when one fails."""

from __future__ import annotations

from .cloud_link import CloudLink
from .effects import CloseTransport, Effect, Notify, OpenTransport, Route, Warn
from .events import FallbackOccurred
from .settings import SessionOptions


class Routes:
    """From the cloud to the local model, and back. Knows of no request and no audio.

    As :class:`~eot_core.session.DetectorSession`, whose part it is: the caller gives the time (seconds of its clock)
    and carries out the effects in order. While the cloud is the active route it is open, or is about to be tried again.
    """

    def __init__(self, options: SessionOptions) -> None:
        """
        Args:
            options: of the session.
        """
        self._options = options
        self._active: Route | None = Route.CLOUD if options.cloud_model is not None else Route.LOCAL
        self._local_open = False
        self._warned: set[str] = set()
        self.cloud = CloudLink(options.fallback)
        """State of the connection."""

    @property
    def active(self) -> Route | None:
        """The one that is taken; None when the cloud is gone and no local model may take over."""
        return self._active

    @property
    def model(self) -> str:
        """Full name of its model; that of the model chosen at first when none is left."""
        return self._options.model_name(self._active)

    @property
    def is_fallback(self) -> bool:
        """Whether it is another than the one chosen at first."""
        return self._options.cloud_model is not None and self._active is not Route.CLOUD

    @property
    def has_local(self) -> bool:
        """Whether the local model may answer."""
        return self._options.local is not None and (self._options.cloud_model is None or self._options.fallback.enabled)

    @property
    def usable(self) -> Route | None:
        """Where a request can be started now: the local model between two tries; None: it has to wait for the next."""
        if self._active is Route.CLOUD and not self.cloud.is_open:
            return Route.LOCAL if self.has_local else None
        return self._active

    def open(self) -> list[Effect]:
        """Begin. The local model is warmed up too where it may have to take over."""
        effects = self.open_cloud() if self._active is Route.CLOUD else []
        return [*effects, *self.open_local()] if self.has_local else effects

    def open_cloud(self) -> list[Effect]:
        """A new connection."""
        self.cloud.opened()
        return [OpenTransport(Route.CLOUD)]

    def open_local(self) -> list[Effect]:
        """The local model, where it is not open."""
        if self._local_open:
            return []
        self._local_open = True
        return [OpenTransport(Route.LOCAL)]

    def close_cloud(self) -> list[Effect]:
        """The connection, where there is one, and the next try at it."""
        effects: list[Effect] = [CloseTransport(Route.CLOUD)] if self.cloud.is_open else []
        self.cloud.closed()
        return effects

    def close_local(self) -> list[Effect]:
        """The local model, where it is open."""
        if not self._local_open:
            return []
        self._local_open = False
        return [CloseTransport(Route.LOCAL)]

    def cloud_connected(self, *, between_turns: bool) -> list[Effect]:
        """The cloud can answer. In the middle of a turn, one that was left is taken again only at its end."""
        self.cloud.connected()
        return self._return_to_cloud() if between_turns and self.is_fallback else []

    def cloud_failed(self, now: float, reason: str, *, retryable: bool) -> list[Effect]:
        """The connection is over: another try, or the local model for good, or nothing."""
        is_active = self._active is Route.CLOUD
        effects = self.close_cloud()
        if self.cloud.failed(now, reason, retryable=retryable and is_active) or not is_active:
            return effects  # where it was a try to come back, the local model goes on
        return [*effects, *self._leave_cloud(reason)]

    def turn_ended(self, now: float) -> list[Effect]:
        """Back to the cloud, or a try at it, where it was left."""
        if not self.is_fallback:
            return []
        if self.cloud.is_ready:
            return self._return_to_cloud()
        return self.open_cloud() if self.cloud.may_recover(now) else []

    def cloud_was_late(self) -> list[Effect]:
        """The cloud did not answer and nobody else can. The connection is kept: the next request may be luckier."""
        return self._warn_once(
            "timeout",
            f"the cloud turn detector {self._options.model_name(Route.CLOUD)} did not answer in time and "
            "local_fallback is off: such turns end on the delays",
        )

    def cloud_refused(self, reason: str) -> list[Effect]:
        """The cloud has no room for a request, and said so at once. The connection is kept, as above."""
        cloud = self._options.model_name(Route.CLOUD)
        if self.has_local:
            instead = f"{self._options.model_name(Route.LOCAL)} answers such requests"
        else:
            instead = "local_fallback is off: such turns end on the delays"
        return self._warn_once("refused", f"the cloud turn detector {cloud} refused a request ({reason}); {instead}")

    def local_did_not_answer(self, reason: str) -> list[Effect]:
        """The local model failed at a request."""
        return self._warn_once(
            "local",
            f"the local turn detector {self._options.model_name(Route.LOCAL)} failed ({reason}); this turn ends on the "
            "delays, the next one tries again",
        )

    def _leave_cloud(self, reason: str) -> list[Effect]:
        cloud = self.model
        self._active = Route.LOCAL if self.has_local else None
        local = self.model if self.has_local else None
        if local is not None:
            message = f"the cloud turn detector {cloud} failed ({reason}); {local} takes over for this stream"
        else:
            message = (
                f"the cloud turn detector {cloud} failed ({reason}) and local_fallback is off: turns end on the "
                "delays for the rest of this stream"
            )
        return [Notify(FallbackOccurred(cloud, local, reason)), *self._warn_once("cloud", message)]

    def _return_to_cloud(self) -> list[Effect]:
        left = self.model
        self._active = Route.CLOUD
        self.cloud.proved()
        self._warned.discard("cloud")
        return [Notify(FallbackOccurred(left, self.model, "recovered", recovered=True))]

    def _warn_once(self, key: str, message: str) -> list[Effect]:
        if key in self._warned:
            return []
        self._warned.add(key)
        return [Warn(message)]

"""What one stream goes by: threshold, language and delays, for whichever model is asked about. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .effects import Route
from .endpointing import DETECTOR_MIN_DELAY, EndpointingOptions
from .languages import LanguageTracker
from .models.base import ModelSpec
from .options import FallbackOptions
from .thresholds import Overrides, Thresholds
from .transports.base import Calibration

if TYPE_CHECKING:
    from .operating_points import OperatingPoint, ResolvedPoint

UNKNOWN_THRESHOLD = 0.5
"""For a cloud model whose server has said nothing yet, where there is no override: there is no answer to compare
either, only a default of 1.0, which passes any threshold."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a session is made from."""

    cloud_model: str | None
    """Name of the model behind the WebSocket; None: local only."""
    local: ModelSpec | None
    """The local model; None: cloud only."""
    prediction_timeout: float = 1.0
    """Seconds from a request to its deadline."""
    fallback: FallbackOptions = field(default_factory=FallbackOptions)
    """Cloud to local."""
    operating_point: OperatingPoint | None = None
    """Threshold and delays for whichever model and language is active; None: the calibrated threshold alone."""
    endpointing: EndpointingOptions | None = None
    """Delays that the user gave; they go before the operating point's."""

    def model_name(self, route: Route | None, head: str | None = None) -> str:
        """Full name of a route's model, and of the head of one's own that it uses (a language key), if it does; that of
        the model chosen at first where there is none."""
        if self.local is not None and (route is Route.LOCAL or self.cloud_model is None):
            return self.local.name_with_head(head)
        return self.cloud_model or "unknown"


@dataclass(frozen=True, slots=True)
class Answered:
    """Who gave the answer that thresholds are asked for."""

    route: Route
    head: str | None = None
    """Language key of the head of one's own that gave it; None: the model as it is shipped."""


class StreamSettings:
    """Thresholds as an immutable value that is replaced, the language that was named last, the operating point.

    A route says whose figures are asked for before there is an answer; :class:`Answered` whose they are after it. A
    threshold belongs to a score: after an answer, whoever gave it decides which figures count, also where another
    language is named only then.
    """

    def __init__(self, options: SessionOptions, thresholds: Thresholds) -> None:
        """
        Args:
            options: of the session.
            thresholds: of the model that is chosen at first.
        """
        self._options = options
        self._thresholds = thresholds
        self._languages = LanguageTracker()
        self._points: dict[tuple[str, str | None, str | None], ResolvedPoint] = {}

    @property
    def language(self) -> str | None:
        """Key of the last language that was named."""
        return self._languages.last

    def thresholds(self, route: Route | None) -> Thresholds:
        """The thresholds for a route's model."""
        local = self._options.local
        if route is not Route.LOCAL or local is None or self._options.cloud_model is None:
            return self._thresholds
        return self._thresholds.rescaled_to(
            local.name, Calibration(thresholds=local.thresholds, default_threshold=local.default_threshold)
        )

    def head(self, route: Route | None) -> str | None:
        """The head of one's own that is to judge the next pause, by the language that was named last.

        Before any was named it is the one whose operating point holds then.

        Returns:
            Its language key; None: the model as it is shipped, also where another language was named.
        """
        local, wanted = self._options.local, self._options.operating_point
        is_local = route is Route.LOCAL or self._options.cloud_model is None
        if local is None or wanted is None or not local.heads or not is_local:
            return None
        language = self._languages.last or wanted.resolve(local.name).language
        return language if language in local.heads else None

    def threshold(self, judged: Route | Answered | None, language: str | None) -> float:
        """Threshold for a language, remembering it; "multi" and None stand for the last language that was named."""
        key = self._languages.resolve(language)
        route, head = self._parts(judged)
        thresholds = self.thresholds(route)
        point = None if thresholds.is_overridden(key) else self._point(route, head)
        value = thresholds.lookup(key) if point is None else point.threshold
        return UNKNOWN_THRESHOLD if value is None else value

    def backchannel_threshold(self, route: Route | None, language: str | None) -> float | None:
        """The same for backchannels; None where they are off."""
        return self.thresholds(route).lookup_backchannel(self._languages.resolve(language))

    def supports_language(self, route: Route | None, language: str | None) -> bool:
        """Whether the route's model is to judge the language: it was made for it, or judges any."""
        local = self._options.local
        is_local = route is Route.LOCAL or self._options.cloud_model is None
        made_for_it = self.is_made_for(route, language)  # which remembers the language
        return made_for_it or (is_local and local is not None and local.judges_any_language)

    def is_made_for(self, route: Route | None, language: str | None) -> bool:
        """Whether the route's model was made for the language (see :meth:`Thresholds.supports`)."""
        return self.thresholds(route).supports(self._languages.resolve(language))

    def measured_language(self, route: Route | None, language: str | None) -> str | None:
        """The language whose operating point holds, where none was measured for the one that was named; else None."""
        key = self._languages.resolve(language)
        point = self._point(route, self.head(route))
        if point is None or self._languages.last is None or point.language == key:
            return None
        return None if self.thresholds(route).is_overridden(key) else point.language

    def endpointing(self, judged: Route | Answered | None, language: str | None) -> EndpointingOptions | None:
        """Delays for the pause, where the user chose them or an operating point; None: the framework's own hold.

        Those of an operating point are at least :data:`~eot_core.endpointing.DETECTOR_MIN_DELAY`: LiveKit ends no turn
        before that, and a turn should end at the same moment everywhere.
        """
        if self._options.endpointing is not None:
            return self._options.endpointing
        key = self._languages.resolve(language)
        route, head = self._parts(judged)
        point = self._point(route, head)
        if point is None:
            return None
        low = max(point.options.min_delay, DETECTOR_MIN_DELAY)
        options = replace(point.options, min_delay=low, max_delay=max(low, point.options.max_delay))
        if self._thresholds.is_overridden(key):  # only the step looks at a threshold
            options = replace(options, exponent=None, rescore_every=None)
        return options

    def calibrate(self, calibration: Calibration) -> None:
        """The server's thresholds, for the model chosen at first."""
        self._thresholds = self._thresholds.with_calibration(calibration)

    def override(self, overrides: Overrides | None) -> None:
        """Other thresholds, on the scale of the model chosen at first.

        Raises:
            ValueError: see :func:`~eot_core.thresholds.normalize_overrides`.
        """
        self._thresholds = self._thresholds.with_overrides(overrides)

    def override_backchannels(self, overrides: Overrides | None) -> None:
        """The same for backchannels."""
        self._thresholds = self._thresholds.with_backchannel_overrides(overrides)

    def _parts(self, judged: Route | Answered | None) -> tuple[Route | None, str | None]:
        """The route, and the head that gave the score or will give the next; once the language is remembered."""
        if isinstance(judged, Answered):
            return judged.route, judged.head
        return judged, self.head(judged)

    def _point(self, route: Route | None, head: str | None) -> ResolvedPoint | None:
        """For the language that was named last: where none was, a calibration file knows best what is spoken."""
        language = self._languages.last
        wanted, model = self._options.operating_point, self._options.model_name(route)
        if wanted is None or not wanted.knows(model):
            return None
        if (model, language, head) not in self._points:
            self._points[model, language, head] = wanted.resolve(model, language, head=head)
        return self._points[model, language, head]

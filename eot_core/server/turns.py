"""What a session has heard of the current turn, and what of it a model is to see."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ..endpointing import ASKED_LATER, DETECTOR_MAX_DELAY, FIRST_HEARS
from ..models.base import SAMPLE_RATE, ModelSpec, PcmArray
from ..transports.scheduler import InferenceScheduler, Job, JobDone, JobFailed, default_scheduler
from ..turn_audio import SURE_AFTER, TurnAudio
from ..vad.hysteresis import WINDOW_SAMPLES
from .catch_up import CatchUp, submit
from .network import SpeechNetwork
from .onset import Onset, OnsetFinder
from .timeline import Timeline

logger = logging.getLogger(__name__)

CATCH_UP = 0.5
"""Seconds of audio after which the VAD hears on, though nobody asks. So a request has about half a second to be
searched, which takes 1 ms; the eight that are kept would take 20."""

RESCORED_AT = 0.2
"""Pauses are scored again at multiples of so many seconds, where the policy is one that this package has fitted
(:mod:`eot_core.evaluation.simulation`)."""
_BEFORE, _AFTER = 0.07, 0.015
"""Seconds by which the audio of such a request may end before or after that moment: a frame of up to 50 ms is on its
way, or came early; the client's timer was late."""


class _HeardAudio(TurnAudio):
    """Audio whose onset becomes known afterwards."""

    @property
    def kept(self) -> float:
        """Seconds that are kept."""
        return self._window.capacity / SAMPLE_RATE

    def since(self, position: int) -> tuple[PcmArray, int]:
        """What is kept from ``position`` on, and where that begins."""
        pcm = self._window.snapshot(since=position)
        return pcm, self._window.written - len(pcm)

    def speech_started_at(self, position: int) -> None:
        """The turn's onset was there."""
        self._awaiting_speech = False
        self._anchor = position


@dataclass(slots=True)
class _Turn:
    begins: int
    """Position of the end of the turn before."""
    after: int = 0
    """Where the speech of the turn before ended; ``begins`` at the latest."""
    onsets: list[Onset] = field(default_factory=list)
    """Where it began; the last one counts. Before each but the first was sound that ended no turn, and a pause in which
    any turn would have ended."""
    scored_pause: int | None = None
    """Where the pause began that was scored last."""

    def take(self, onset: Onset) -> bool:
        """Speech began, or was resumed. Returns whether the turn begins with it."""
        longest = (DETECTOR_MAX_DELAY + SURE_AFTER) * SAMPLE_RATE
        alone = onset.after is not None and onset.at - onset.after > longest
        if onset.at <= self.begins or (self.onsets and not alone):
            return False
        self.onsets.append(onset)
        return True

    def since(self, end: int, lead: int) -> int:
        """What a model may see at ``end`` of the turn's audio, with ``lead`` samples before it: from here on."""
        last = next((onset for onset in reversed(self.onsets) if onset.at <= end), None)
        if last is None:
            return max(self.after, self.begins - lead)
        return max(last.after or 0, last.at - lead)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What the model is to see."""

    pcm: PcmArray
    """int16 mono at 16 kHz, shape (n,), read-only; n is 0 where nothing was heard."""
    earliest: float | None
    """Capture time of the oldest chunk in it: Unix seconds of the client's clock."""
    latest: float | None
    """The same of the newest that had come in by then, whether the model sees it or not."""


class TurnListener:
    """One session's audio. Its methods are called on the event loop's thread and return at once.

    A model that scores turns was trained on windows that begin a little before the onset of speech
    (:attr:`ModelSpec.pre_speech`), and its threshold was measured with windows that end a little after the speech
    (:data:`~eot_core.endpointing.FIRST_HEARS`). On the client's side a framework's VAD tells of both; here
    :class:`OnsetFinder` does, on the scheduler's threads: half a second at a time with :class:`CatchUp`, and what is
    left when a request comes. For a model with a rolling window there is none of this.

    So the model hears 0.2 s of a pause at its first request, and at each one after it what it hears locally then
    (:func:`_heard_again`). A request that comes in speech, or in a pause that is older than the turn, sees everything.
    """

    def __init__(
        self,
        model: ModelSpec,
        network: SpeechNetwork | None,
        *,
        catch_up: CatchUp | None = None,
        scheduler: InferenceScheduler | None = None,
    ) -> None:
        """
        Args:
            model: what will be asked.
            network: of the VAD that finds the onset and the pauses; None: such a model sees everything since the last
                turn.
            catch_up: of all sessions; None: the session's own.
            scheduler: where to search; None takes the one of this process.
        """
        self._model = model
        self._audio = _HeardAudio(model.window)
        self._timeline = Timeline(self._audio.kept)
        self._finder = OnsetFinder(network) if network is not None and model.pre_speech is not None else None
        self._turn = self._turn_before = _Turn(0)
        self._scheduler = default_scheduler() if scheduler is None else scheduler
        self._catch_up_together = catch_up or CatchUp(self._scheduler)
        self._catching_up = False
        self._caught_up_to = 0
        self._preparing: dict[str, Job] = {}
        self._complained = False
        self._closed = False

    @property
    def captured_at(self) -> float:
        """Capture time of the newest audio."""
        return self._audio.captured_at

    # -- audio --------------------------------------------------------------------------------------------------------

    def push(self, pcm: PcmArray, sample_rate: int, captured_at: float) -> PcmArray:
        """Take audio; returns what became available at 16 kHz."""
        return self._heard(self._audio.push(pcm, sample_rate, captured_at))

    def drain(self) -> PcmArray:
        """Take what the resampler holds back, before something that was sent after it; returns it."""
        return self._heard(self._audio.drain())

    def turn_ended(self) -> None:
        """The client flushed: the next speech begins a turn."""
        if self._audio.turn_ended():
            end = self._timeline.written
            quiet = None if self._finder is None else self._finder.quiet_since(end)
            self._turn_before, self._turn = self._turn, _Turn(end, quiet or 0)

    def _heard(self, pcm: PcmArray) -> PcmArray:
        if len(pcm):
            self._timeline.add(len(pcm), self._audio.captured_at)
            self._catch_up()
        return pcm

    # -- requests -----------------------------------------------------------------------------------------------------

    def prepare(self, request_id: str, timeout: float, on_done: Callable[[Excerpt | JobFailed], None]) -> None:
        """Cut out what the model is to see of all audio so far.

        Args:
            request_id: for :meth:`cancel`.
            timeout: seconds that the request has.
            on_done: gets the excerpt, or why there is none ("overloaded", "expired", "model_hung"); at once where the
                VAD has heard enough, else later on the event loop.
        """
        finder, end, latest = self._finder, self._timeline.written, self._timeline.latest
        if finder is None:
            pcm = self._audio.snapshot(self._model)
            on_done(Excerpt(pcm, self._timeline.captured_at(end - len(pcm)), latest))
            return
        unheard = end - finder.next  # before its onsets are taken: it may be hearing on
        self._take_onsets()
        turn, (kept, start) = self._turn, self._audio.since(0)
        known = unheard < WINDOW_SAMPLES or (self._model.hears_all and bool(turn.onsets))
        if known or len(kept) == 0:
            on_done(self._excerpt(kept, start, latest, turn, finder))
            return

        def done(result: JobDone | JobFailed) -> None:
            if self._preparing.pop(request_id, None) is None:
                return
            if isinstance(result, JobFailed) and result.error is None:
                on_done(result)
                return
            if isinstance(result, JobFailed):
                self._complain(result)
            self._take_onsets()
            on_done(self._excerpt(kept, start, latest, turn, finder))

        # A millisecond's work goes before the predictions that came with it: only then its own can wait in the queue.
        deadline = self._scheduler.now() + timeout / 2
        work = partial(finder.hear, *self._audio.since(finder.next))
        self._preparing[request_id] = submit(self._scheduler, work, deadline, done)

    def cancel(self, request_id: str) -> None:
        """The excerpt is not wanted any more."""
        job = self._preparing.pop(request_id, None)
        if job is not None:
            job.cancel()

    def close(self) -> None:
        """Call everything off. Idempotent."""
        self._closed = True
        for request_id in list(self._preparing):
            self.cancel(request_id)

    def _excerpt(self, kept: PcmArray, start: int, latest: float | None, turn: _Turn, finder: OnsetFinder) -> Excerpt:
        """The turn's part of what was kept from ``start`` on when the request came."""
        assert self._model.pre_speech is not None
        end = start + len(kept)
        until = self._until(end, turn, finder)
        since = max(
            start,
            turn.since(end, round(self._model.pre_speech * SAMPLE_RATE)),
            until - round(self._model.window * SAMPLE_RATE),
        )
        return Excerpt(kept[since - start : until - start], self._timeline.captured_at(since), latest)

    def _until(self, end: int, turn: _Turn, finder: OnsetFinder) -> int:
        """How far the model hears, of audio that ends at ``end``."""
        quiet = None if self._model.hears_all else finder.quiet_since(end)
        if quiet is None or quiet <= turn.begins or end - quiet <= FIRST_HEARS * SAMPLE_RATE:
            return end
        # Nobody says which request is the first of a pause and which scores it again: the order does.
        hears = _heard_again((end - quiet) / SAMPLE_RATE) if quiet == turn.scored_pause else FIRST_HEARS
        turn.scored_pause = quiet
        return min(end, quiet + round(hears * SAMPLE_RATE))

    # -- the onset ----------------------------------------------------------------------------------------------------

    def _take_onsets(self) -> None:
        while self._finder is not None and self._finder.onsets:
            onset = self._finder.onsets.popleft()
            turn = self._turn if onset.at > self._turn.begins else self._turn_before
            if turn.take(onset) and turn is self._turn:
                self._audio.speech_started_at(onset.at)

    def _catch_up(self) -> None:
        finder = self._finder
        if finder is None or self._catching_up or self._closed:
            return
        written = self._timeline.written
        if written - max(finder.next, self._caught_up_to) < CATCH_UP * SAMPLE_RATE:
            return
        self._caught_up_to = written  # under load the scheduler drops it: not again with every message
        self._take_onsets()

        def done(result: JobDone | JobFailed) -> None:
            self._catching_up = False
            if isinstance(result, JobFailed) and result.error is not None:
                self._complain(result)

        self._catching_up = True
        self._catch_up_together.add(finder, lambda: self._audio.since(finder.next), done)

    def _complain(self, failure: JobFailed) -> None:
        if not self._complained:
            self._complained = True
            logger.warning(
                "speech cannot be searched for: %s sees everything since the last turn (said once for each session)",
                self._model.name,
                exc_info=failure.error,
            )


def _heard_again(silence: float) -> float:
    """Seconds of a pause that the model hears when it scores it again.

    Locally that follows from the moment for which the request was meant. Here it is known only how much audio had come
    by then: a part of a frame less, and a few milliseconds move a score. Near a multiple of :data:`RESCORED_AT` it was
    meant for that; the first of them comes before the VAD is certain, so a request near it is the pause's first again.

    Args:
        silence: seconds of it that there are.
    """
    times = math.floor((silence + _BEFORE) / RESCORED_AT)
    meant = times * RESCORED_AT
    if times > 1 and silence > meant + _AFTER:
        meant = silence
    return max(FIRST_HEARS, meant - ASKED_LATER)

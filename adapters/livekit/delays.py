"""The delays that hold for a pause where the moment is decided here: the detector's own, or an operating point's, but
for those that session or agent were given."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from eot_core import DetectorStream, EndpointingOptions

from .recognition import session_delays


def current_delays(core: DetectorStream, asked_by: asyncio.Task[Any] | None) -> EndpointingOptions | None:
    """For the model that gave the last answer, or will give the next, and the language that was named last.

    Args:
        core: the stream.
        asked_by: LiveKit's task that asks.

    Returns:
        None where LiveKit decides by itself.
    """
    options = core.endpointing()
    if options is None or core._session.options.endpointing is not None:
        return options
    low, high = session_delays(asked_by)
    low = options.min_delay if low is None else low
    return replace(options, min_delay=low, max_delay=max(low, options.max_delay if high is None else high))


def longest_delay(core: DetectorStream, asked_by: asyncio.Task[Any] | None) -> float:
    """Seconds that a pause may last, whichever model gives the next answer; 0 where LiveKit decides by itself."""
    options = core._session.options
    if options.endpointing is not None:
        return options.endpointing.max_delay
    point = options.operating_point
    if point is None:
        return 0.0
    language = core._session.language
    resolved = [point.resolve(model, language) for model in _models(core) if point.knows(model)]
    if options.local is not None:
        resolved += [point.resolve(options.local.name, head=head) for head in options.local.heads]
    longest = max((policy.options.max_delay for policy in resolved), default=0.0)
    current = current_delays(core, asked_by)
    return longest if current is None else max(longest, current.max_delay)


def _models(core: DetectorStream) -> set[str]:
    options = core._session.options
    local = None if options.local is None else options.local.name
    return {name for name in (options.cloud_model, local) if name is not None}

"""Which user aggregator a processor's frames come to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipecat.pipeline.parallel_pipeline import ParallelPipeline
from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregator
from pipecat.processors.frame_processor import FrameProcessor


def user_aggregator_after(processor: FrameProcessor) -> LLMUserAggregator | None:
    """The first one, whichever pipelines within the pipeline the two are in. None: there is none.

    Args:
        processor: one that has been set up.
    """
    for found in _after(processor, processor.pipeline_worker.pipeline):
        if isinstance(found, LLMUserAggregator):
            return found
    return None


def _after(processor: FrameProcessor, within: FrameProcessor) -> Iterator[FrameProcessor]:
    for place, part in enumerate(within.processors):
        if part is processor or processor in _all(part.processors):
            yield from _after(processor, part)
            if not isinstance(within, ParallelPipeline):  # its other branches do not come after this one
                yield from _all(within.processors[place + 1 :])
            return


def _all(processors: Sequence[FrameProcessor]) -> Iterator[FrameProcessor]:
    for processor in processors:
        yield processor
        yield from _all(processor.processors)

"""The core's detector, inside LiveKit: with v1-mini, and connected as LiveKit connects."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Mapping
from dataclasses import replace

import aiohttp
from livekit.agents import APIConnectOptions
from livekit.agents.utils import http_context

import eot_core
from eot_core import FallbackOptions, ModelSpec, Prediction

from .mini import V1_MINI, resolve_model


class Core(eot_core.TurnDetector):
    """The core's detector where v1-mini may run, inside a LiveKit job."""

    def _default_local_model(self) -> str | ModelSpec:
        return V1_MINI

    def _resolve_model(self, model: str | os.PathLike[str] | ModelSpec) -> ModelSpec:
        return resolve_model(model)

    @property
    def initial_thresholds(self) -> eot_core.Thresholds:
        return self._thresholds()

    def provider_of(self, prediction: Prediction) -> str:
        local = self.local_model
        return local.provider if prediction.source == "local" and local is not None else "livekit"

    def open_stream(self, conn_options: APIConnectOptions | None) -> eot_core.DetectorStream:
        """A stream that connects within the caller's context, whoever reconnects later: the job's HTTP session and the
        headers that name the job are looked up there."""
        if self._cloud is None:
            return self.stream()
        here = contextvars.copy_context()
        cloud = replace(
            self._cloud,
            headers=lambda: here.copy().run(_headers),
            http_session=self._cloud.http_session or (lambda: here.copy().run(_job_http_session)),
        )
        if conn_options is None:
            return self._stream(cloud, self._fallback)
        return self._stream(
            replace(cloud, connect_timeout=conn_options.timeout), with_retries(self._fallback, conn_options)
        )


def _headers() -> Mapping[str, str]:
    """What LiveKit Inference is told about the agent: SDK version, and inside a job which one it is."""
    try:
        from livekit.agents.inference._utils import get_inference_headers
    except ImportError:  # not public: a later version may have it elsewhere, and a gateway does without
        return {}
    return get_inference_headers()


def _job_http_session() -> aiohttp.ClientSession | None:
    """The HTTP session that LiveKit keeps for a job; None outside of one."""
    try:
        return http_context.http_session()
    except RuntimeError:
        return None


def with_retries(fallback: FallbackOptions, conn_options: APIConnectOptions) -> FallbackOptions:
    """``fallback`` with the retries of LiveKit's options."""
    return replace(fallback, retries=conn_options.max_retry, retry_interval=conn_options.retry_interval)

"""A calibration file and the models that are to run: what was measured counts for these weights only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from .models.base import ModelError, ModelSpec
from .models.weights import sha256_of
from .operating_points import OperatingPoint
from .policy_table import OperatingPointError, PolicyTable

logger = logging.getLogger("eot_core")


def apply_calibration(
    point: OperatingPoint, local: ModelSpec | None, names: Sequence[str]
) -> tuple[OperatingPoint, ModelSpec | None]:
    """What a calibration file means for the models of one detector.

    Args:
        point: with or without a calibration file.
        local: the local model.
        names: full names of all models of the detector.

    Returns:
        The point, without what the file has for other weights than ``local`` has (with a warning); and ``local``, with
        the heads that the file has for it.

    Raises:
        OperatingPointError: a head cannot be used; the message says why, and what to do.
    """
    table = point.calibration
    if not isinstance(table, PolicyTable):
        return point, local
    if not any(name in table.models for name in names):
        runs_cloud = local is None or names[0] != local.name
        logger.warning(
            "the calibration file is for %s, and this detector runs %s: it changes nothing. Name the model that it is "
            "for: TurnDetector(%s=%r, ...)",
            " and ".join(table.models),
            " and ".join(dict.fromkeys(names)),
            "fallback_model" if runs_cloud else "model",
            next(iter(table.models), None),
        )
    policies = None if local is None else table.models.get(local.name)
    if local is None or policies is None:
        return point, local
    weights = None if policies.sha256 is None else _checksum(local)
    if policies.sha256 is not None and weights is not None and policies.sha256 != weights:
        logger.warning(
            "the calibration file was made with other weights of %s (sha256 %s..., here %s...): what it has for them "
            "does not count. Run eot tune again",
            local.name,
            policies.sha256[:12],
            weights[:12],
        )
        return replace(point, calibration=table.without(local.name)), local
    if policies.heads:
        from .models.own_head import checksum, with_heads

        for language, head in policies.heads.items():
            if head.sha256 is not None and head.sha256 != checksum(head.document):
                raise OperatingPointError(
                    f"{table.where}: the head of the calibration file for {local.name} in {language!r} is not what "
                    "eot tune wrote (its sha256 is another): take an undamaged copy, or run eot tune again"
                )
        try:
            local = with_heads(local, {language: head.document for language, head in policies.heads.items()})
        except ModelError as error:
            raise OperatingPointError(f"{table.where}: {error}") from error
    return point, local


def _checksum(local: ModelSpec) -> str | None:
    """Of the weights, hex; None where they cannot be read (which is said when they are loaded)."""
    if local.sha256 is not None or local.file is None:
        return local.sha256
    try:
        return sha256_of(local.file)
    except OSError:
        return None

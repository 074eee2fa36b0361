"""What only runs in the cloud cannot be scored by commands that score with local models."""

from __future__ import annotations

from collections.abc import Sequence


def refuse_cloud(option: str, names: Sequence[str]) -> None:
    """Say so, where the name would be an unknown one.

    Args:
        option: the argument that named the models, for the message.
        names: of models, or paths.

    Raises:
        ValueError: one of them is the model in the cloud.
    """
    from ..cloud import CLOUD_MODEL

    for name in names:
        if name in (CLOUD_MODEL, "v1"):
            raise ValueError(
                f"{option} {name}: runs in the cloud, which recordings are not sent to: name a local model, such as "
                "eot-open-1"
            )

"""Importing this loads the models, in a worker's forkserver: see :mod:`adapters.livekit.plugin`."""

from .plugin import preload_models

preload_models()

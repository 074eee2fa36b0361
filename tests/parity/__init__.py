"""The same calls through a real LiveKit session and a real Pipecat pipeline: ``python -m tests.parity``."""

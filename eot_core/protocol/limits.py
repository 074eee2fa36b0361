"""How much one end takes from the other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProtocolLimits:
    """Bounds that keep a hostile or broken far end from costing memory. The defaults are far above honest use."""

    max_message_bytes: int = 1 << 20
    """Longest frame that is parsed, in bytes. The longest honest one is an audio chunk."""
    max_audio_bytes: int = 960_000
    """Longest audio chunk, in bytes: 10 s at 48 kHz. LiveKit sends 50 ms (4,800 bytes at 48 kHz)."""
    max_pending_requests: int = 32
    """Requests of one session that are neither answered nor stopped. LiveKit has one that it waits for."""
    max_request_id_chars: int = 256
    """LiveKit's are about 50."""
    max_languages: int = 512
    """Entries of one threshold map; there are 184 ISO 639-1 languages."""
    max_error_chars: int = 500
    """The text of a server's error is cut to this."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a positive whole number, got {value!r}")

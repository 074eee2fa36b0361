"""What was logged while a cell ran."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Self


class LogBook(logging.Handler):
    """Collects warnings of the detector and errors of anyone, for as long as it is entered."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings: list[str] = []
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self.errors.append(f"{record.name}: {record.getMessage()}")
        elif record.name.startswith(("eot_core", "adapters")):
            self.warnings.append(record.getMessage())

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger().removeHandler(self)

"""TensorRT's messages in Python's logging: TensorRT's own Logger writes them to stdout, where the results go."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

_NO_DRIVER = "cudaError 35"  # without a driver, TensorRT-RTX 1.7 reports it after every error of another kind


def tensorrt_logger(
    trt: ModuleType,
    log: logging.Logger,
    *,
    level: int = logging.WARNING,
    listener: Callable[[str], None] | None = None,
) -> Any:
    """Return an ILogger whose `reason` is TensorRT's last error, in one line, or "no reason given".

    trt: tensorrt or tensorrt_rtx. level: of TensorRT's errors and warnings in `log`; everything else is logged at DEBUG.
    listener: called with every message, also the VERBOSE ones; nothing else keeps a message.
    """
    severity = trt.ILogger.Severity
    errors, warnings = (severity.INTERNAL_ERROR, severity.ERROR), (severity.WARNING,)

    class PythonLogger(trt.ILogger):  # type: ignore[name-defined, misc]  # the base is known at run time only
        def __init__(self) -> None:
            super().__init__()
            self.reason = "no reason given"

        def log(self, severity: Any, message: str) -> None:
            if severity in errors and (_NO_DRIVER not in message or self.reason == "no reason given"):
                self.reason = " ".join(message.split())
            log.log(level if severity in errors or severity in warnings else logging.DEBUG, "%s", message)
            if listener is not None:
                listener(message)

    return PythonLogger()

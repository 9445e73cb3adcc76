"""The logger for TensorRT, called by the real builder and by hand."""

from __future__ import annotations

import logging

import pytest

from vegrt.infer.runtimes.tensorrt.logger import tensorrt_logger

trt = pytest.importorskip("tensorrt_rtx", reason="calls a real logger: pip install 'vegrt[rtx]'")
log = logging.getLogger("vegrt.tests.tensorrt")
SEVERITY = trt.ILogger.Severity


def test_messages_go_to_logging_and_never_to_stdout(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    messages: list[str] = []
    logger = tensorrt_logger(trt, log, listener=messages.append)
    with caplog.at_level(logging.DEBUG, logger=log.name):
        assert not trt.OnnxParser(trt.Builder(logger).create_network(0), logger).parse(b"not a model")
    assert capfd.readouterr().out == ""
    assert messages == [record.getMessage() for record in caplog.records if record.name == log.name] != []
    assert logger.reason in messages
    assert logger.reason != "no reason given"


@pytest.mark.parametrize("level", [logging.WARNING, logging.DEBUG])
def test_the_level_is_that_of_errors_and_warnings(level: int, caplog: pytest.LogCaptureFixture) -> None:
    logger = tensorrt_logger(trt, log, level=level)
    with caplog.at_level(logging.DEBUG, logger=log.name):
        for severity in (SEVERITY.INTERNAL_ERROR, SEVERITY.ERROR, SEVERITY.WARNING, SEVERITY.INFO, SEVERITY.VERBOSE):
            logger.log(severity, "100 %s")
    assert [record.levelno for record in caplog.records] == [level] * 3 + [logging.DEBUG] * 2
    assert caplog.messages == ["100 %s"] * 5


def test_the_reason_is_the_last_error_and_not_the_missing_driver() -> None:
    logger = tensorrt_logger(trt, log, level=logging.DEBUG)
    assert logger.reason == "no reason given"
    logger.log(SEVERITY.ERROR, "(cudaError 35: CUDA driver version is insufficient)")
    assert "cudaError 35" in logger.reason
    logger.log(SEVERITY.ERROR, "a profile\nwas refused")
    logger.log(SEVERITY.ERROR, "(cudaError 35: CUDA driver version is insufficient)")
    logger.log(SEVERITY.WARNING, "a warning")
    assert logger.reason == "a profile was refused"

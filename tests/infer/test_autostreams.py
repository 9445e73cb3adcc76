"""The choice between one request and several streams of OpenVINO, with speeds that the test states."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.change import changing
from vegrt.infer import autostreams
from vegrt.infer import predict as inference
from vegrt.infer.autostreams import Measure, with_streams
from vegrt.infer.outputs.files import OutputOptions
from vegrt.infer.predict import Request, run
from vegrt.infer.runtimes.open import LoadedModel, open_runner
from vegrt.infer.runtimes.openvino.runner import OpenVinoRunner, StreamsRunner
from vegrt.infer.runtimes.runner import BundleRunner

pytest.importorskip("openvino")


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autostreams, "available_cores", lambda: 4)


def speeds(single: float, several: float) -> Measure:
    """Return a measurement that gives these images per second, of one request and of several streams."""
    return lambda runner, _: several if isinstance(runner, StreamsRunner) else single


def never(_: BundleRunner, __: NDArray[np.uint8]) -> float:
    raise AssertionError("measured")


@pytest.fixture
def model(bundle: Bundle) -> LoadedModel:
    return open_runner(bundle, "int8-cpu", "openvino", "cpu")


def test_streams_are_used_where_they_are_faster(model: LoadedModel, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    chosen = with_streams(model, 4, measure=speeds(1000.0, 1040.0))
    assert isinstance(chosen.runner, StreamsRunner)
    lanes = chosen.runner.lanes
    expected = f"openvino: {lanes} streams; from memory 1040 images/s with {lanes} streams, 1000 with one request"
    assert caplog.messages[-1] == expected
    assert with_streams(model, 4, measure=speeds(1000.0, 1020.0)) == model
    assert caplog.messages[-1].startswith("openvino: one request on all threads; from memory 1020 images/s with")


def test_a_slow_model_is_not_tried(model: LoadedModel, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert with_streams(model, 8, measure=speeds(16.0, 99.0)) == model
    assert "a batch takes too long to try streams (0.50 s)" in caplog.text


@pytest.mark.parametrize("threads", [1, 3])
def test_below_four_threads_nothing_is_measured(model: LoadedModel, threads: int) -> None:
    assert with_streams(model, 4, threads=threads, measure=never) == model


def test_below_four_cores_nothing_is_measured(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autostreams, "available_cores", lambda: 3)
    assert with_streams(model, 4, threads=8, measure=never) == model


def test_only_openvino_without_embeddings_is_measured(bundle: Bundle, model: LoadedModel) -> None:
    other = open_runner(bundle, "int8-cpu", "onnxruntime", "cpu")
    assert with_streams(other, 4, measure=never) == other
    with_embeddings = replace(model, embedding_width=64)
    assert with_streams(with_embeddings, 4, measure=never) == with_embeddings


def test_a_bundle_that_changed_meanwhile_keeps_its_runner(copied: Bundle) -> None:
    model = open_runner(copied, "int8-cpu", "openvino", "cpu")
    with changing(copied.path) as staging:
        staging.finish(replace(copied.manifest, name="another"))
    assert with_streams(model, 4, measure=never) == model


@pytest.fixture
def printed(bundle: Bundle, photos: Path) -> Callable[..., list[str]]:
    """Return a function that runs `infer` on the test photos with OpenVINO, and returns what it prints."""

    def call(**more: Any) -> list[str]:
        lines: list[str] = []
        request = Request(
            (photos / "test",), "int8-cpu", "openvino", batch=4, output=OutputOptions(printed=True), **more
        )
        run(bundle.path, request, lines.append, as_json=False)
        return "".join(lines).splitlines()

    return call


def test_infer_tries_streams_for_batch_work_and_prints_the_same(
    printed: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(inference, "with_streams", partial(with_streams, measure=speeds(1.0e6, 2.0e6)))
    expected = printed()
    assert printed(objective="latency") == expected
    assert "streams" not in caplog.text, "few photos, or the latency of one"
    assert printed(objective="throughput") == expected
    assert caplog.text.count("streams; from memory") == 1
    monkeypatch.setattr(inference, "MIN_PHOTOS", 20)
    assert printed() == expected
    assert caplog.text.count("streams; from memory") == 2
    assert printed(objective="latency") == expected
    assert caplog.text.count("streams; from memory") == 2


def test_one_request_is_what_a_bundle_opens_with(model: LoadedModel) -> None:
    assert isinstance(model.runner, OpenVinoRunner)

"""Find whether OpenVINO answers more images per second in several streams than in one, by measuring for about a second."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import VegrtError
from vegrt.infer.autobatch import EACH_S, GAIN, images_per_s
from vegrt.infer.runtimes.open import LoadedModel, open_candidate
from vegrt.infer.runtimes.runner import BundleRunner, OverlappingRunner
from vegrt.machine import available_cores

log = logging.getLogger(__name__)

MIN_CORES = 4  # below it, streams of one core each took the same time as a batch on all
MIN_PHOTOS = 1000  # below it, the trial takes longer than what it can save
_ROUNDS = 3
# Of a batch for each stream, by one request; with longer ones a trial would take far more than a second
_LONGEST_S = 4 * EACH_S

Measure = Callable[[BundleRunner, NDArray[np.uint8]], float]


def with_streams(model: LoadedModel, batch: int, *, threads: int = 0, measure: Measure = images_per_s) -> LoadedModel:
    """Return the model with the faster runner for batches of this size, where there is a choice; log it with both speeds.

    There is one for OpenVINO without embeddings on MIN_CORES cores. The answers are the same. threads: 0 for all cores that this
    process may use. measure: returns the images per second of a runner.
    """
    cores = min(threads or available_cores(), available_cores())
    if model.candidate.runtime != "openvino" or model.embedding_width or cores < MIN_CORES:
        return model
    try:
        streams = open_candidate(model.bundle, model.candidate, threads=threads, throughput=True)
        if not isinstance(streams, OverlappingRunner) or streams.lanes < 2 or not model.bundle.is_current():
            return model
        return replace(model, runner=_faster(model, streams, batch, measure))
    except VegrtError as error:
        log.warning("openvino: streams were not tried (%s)", error)
        return model


def _faster(model: LoadedModel, streams: OverlappingRunner, batch: int, measure: Measure) -> BundleRunner:
    shape = (batch, *model.bundle.manifest.contract.shape)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    single = measure(model.runner, images)
    if streams.lanes * batch / single > _LONGEST_S:
        log.info("openvino: one request on all threads; a batch takes too long to try streams (%.2f s)", batch / single)
        return model.runner
    rounds = [(measure(streams, images), measure(model.runner, images)) for _ in range(_ROUNDS)]
    several, single = (statistics.median(speeds) for speeds in zip(*rounds, strict=True))
    is_faster = several > GAIN * single
    log.info(
        "openvino: %s; from memory %.0f images/s with %d streams, %.0f with one request",
        f"{streams.lanes} streams" if is_faster else "one request on all threads",
        several,
        streams.lanes,
        single,
    )
    return streams if is_faster else model.runner

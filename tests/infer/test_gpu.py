"""What needs an NVIDIA GPU. Run by `make gpu-check`, where a missing GPU is a failure and not a skip."""

from __future__ import annotations

import os

import numpy as np
import pytest

from vegrt.bundle import Bundle
from vegrt.dataset import Split
from vegrt.infer.gpu import probe_gpus
from vegrt.infer.open import Candidate, open_candidate
from vegrt.preprocess import load_image

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _needs_a_gpu() -> None:
    probe = probe_gpus()
    if not probe.gpus:
        reason = f"no usable NVIDIA GPU ({probe.problem})"
        pytest.fail(reason) if os.environ.get("VEGRT_REQUIRE_GPU") else pytest.skip(reason)


@pytest.mark.parametrize(
    "candidate",
    [Candidate("fp16", "tensorrt"), Candidate("int8", "tensorrt"), Candidate("fp32", "onnxruntime")],
    ids=str,
)
def test_gpu_runners_answer_like_the_cpu(bundle: Bundle, test_split: Split, candidate: Candidate) -> None:
    images = np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])
    want = open_candidate(bundle, Candidate("fp32", "onnxruntime")).logits(images)
    got = open_candidate(bundle, candidate, device="cuda").logits(
        images
    )  # 60 images: more than an engine's largest batch
    assert (got.argmax(axis=1) == want.argmax(axis=1)).mean() >= 0.95

"""Tests on a machine without a GPU: skipped, or failed where a GPU is required."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def without_gpu(reason: str) -> NoReturn:
    """Skip the test that needs a GPU; `make gpu-check` lets it fail instead."""
    if os.environ.get("VEGRT_REQUIRE_GPU"):
        pytest.fail(reason)
    pytest.skip(reason)

"""Real subjects for all tests: photos of drawn colours, and a bundle that was trained and exported from them.

Tests run in several processes. Whoever needs a subject first makes it, for all.
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from tests.gpu import without_gpu
from tests.result_files import Results, make_two_gpus
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.dataset.photos import Split, read_split
from vegrt.export.stage import export
from vegrt.infer.machine.gpu import probe_gpus
from vegrt.train.fit import train
from vegrt.train.recipe import Recipe

NO_SKIPS = "VEGRT_NO_SKIPS" in os.environ  # a machine that has everything but a GPU: a skipped test is a failure there
CLASSES = ("Beet", "Cress", "Eggplant")
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
SMALL = Recipe(
    backbone="timm:test_resnet",
    weights="none",
    size=48,
    fit="crop",
    interpolation="bilinear",
    epochs_head=0,
    epochs=8,
    batch_size=12,
    lr=5e-3,
    augment="none",
)
COUNTS = {"train": 24, "validation": 16, "test": 20}


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep compiled models out of the cache of the user who runs the tests, and what was measured there out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _needs_a_gpu(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") and not (probe := probe_gpus()).gpus:
        without_gpu(f"no usable NVIDIA GPU ({probe.problem})")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return report if item.get_closest_marker("gpu") else _refuse_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _refuse_skip((yield))


def _refuse_skip(report: Report) -> Report:
    """Turn a skip into a failure where NO_SKIPS is set."""
    if NO_SKIPS and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = (
            "failed",
            f"{report.nodeid}: {reason}; VEGRT_NO_SKIPS allows no skip but of GPU tests",
        )
    return report


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` filled, in this or in another test process."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared-{name}"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            making = folder.with_name(f"making-{name}")
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            make(making)
            making.rename(folder)
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of three classes, 72x64 JPEGs: noise with a disc in the class's colour. Read only."""
    return made_once(tmp_path_factory, "photos", draw_photos)


def draw_photos(root: Path) -> None:
    random = np.random.default_rng(7)
    for split, count in COUNTS.items():
        for channel, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                draw_photo(random, channel).save(root / split / name / f"{number:03d}.jpg", quality=90)


def draw_photo(random: np.random.Generator, channel: int) -> Image.Image:
    pixels = random.integers(0, 200, (64, 72, 3)).astype(np.float64)
    rows, columns = np.mgrid[:64, :72]
    centre, radius = random.uniform(20, 44, 2), random.uniform(8, 18)
    disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
    pixels[disc, channel] += 70
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A residual network of 1.5 MB for 48x48 pixels, trained for seconds, not exported. Read only: copy it to change it."""
    folder = made_once(tmp_path_factory, "trained", lambda root: train(photos, root / "small", SMALL))
    return open_bundle(folder / "small")


@pytest.fixture(scope="session")
def bundle(trained: Bundle, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The trained bundle with all variants and TensorRT-RTX plans. Read only: copy it to change it."""

    def make(root: Path) -> None:
        shutil.copytree(trained.path, root / "small")
        export(root / "small", photos)

    return open_bundle(made_once(tmp_path_factory, "exported", make) / "small")


@pytest.fixture(scope="session")
def test_split(photos: Path) -> Split:
    return read_split(photos, "test")


@pytest.fixture
def copied(bundle: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the exported bundle that a test may change."""
    shutil.copytree(bundle.path, tmp_path / "copied")
    return open_bundle(tmp_path / "copied")


@pytest.fixture
def two_gpus(tmp_path: Path) -> Bundle:
    """A bundle of dummy files with engines for two GPUs."""
    return make_two_gpus(tmp_path / "two-gpus")


@pytest.fixture
def results(two_gpus: Bundle) -> Results:
    """What writes result files of that bundle."""
    return Results(two_gpus)


@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """A function that has the system refuse to write beyond so many bytes of a file, as on a full disk; undone at the end."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)  # Python ignores the signal that comes with it
    yield lambda size_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)

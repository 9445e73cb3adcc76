"""A real service on an ephemeral loopback port, in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.infer.api import Model, load
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.runner import Runner
from vegrt.infer.serve.app import Service
from vegrt.infer.serve.server import listen, make_server, url_of
from vegrt.infer.serve.settings import ServerSettings
from vegrt.photo.preprocess import load_image


@dataclass
class Running:
    """A service, where it listens, without the slash at the end, and its server."""

    url: str
    service: Service
    server: uvicorn.Server


class Held:
    """A real runner that computes only while its gate is open."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.runtime, self.device = runner.runtime, runner.device
        self.gate = threading.Event()

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert self.gate.wait(60), "the gate was never opened"
        return self._runner.logits(images)


Start = Callable[..., Running]


@pytest.fixture(scope="session")
def model(bundle: Bundle) -> Model:
    return load(bundle.path, variant="fp32", runtime="onnxruntime")


@contextmanager
def _running(model: Model, settings: ServerSettings) -> Iterator[Running]:
    with listen("127.0.0.1", 0) as listener:
        service = Service(model, settings)
        server = make_server(service)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Running(url_of(listener).rstrip("/"), service, server)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def start(model: Model) -> Iterator[Start]:
    """Start a service of `model` with the settings given; it ends with the test."""
    with ExitStack() as stack:
        yield lambda model=model, **settings: stack.enter_context(_running(model, ServerSettings(**settings)))


@pytest.fixture(scope="module")
def shared(model: Model) -> Iterator[Running]:
    """One service with the default settings, for all tests of a module that leave it as it is."""
    with _running(model, ServerSettings()) as running:
        yield running


@pytest.fixture
def held(bundle: Bundle, model: Model) -> Iterator[tuple[Model, threading.Event]]:
    """A model whose runner waits until the event is set."""
    runner = Held(open_candidate(bundle, model.candidate))
    yield Model(bundle, model.candidate, runner), runner.gate
    runner.gate.set()


@pytest.fixture(scope="session")
def files(photos: Path) -> list[Path]:
    """All 60 test photos, every one different."""
    return sorted(photos.glob("test/*/*.jpg"))


@pytest.fixture(scope="session")
def pixels(files: list[Path], model: Model) -> NDArray[np.uint8]:
    return np.stack([load_image(path, model.bundle.manifest.contract) for path in files])


@pytest.fixture(scope="session")
def expected(model: Model, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The runner's own logits of each file, computed one by one."""
    return np.concatenate([model.logits(image[None]) for image in pixels])


@pytest.fixture(scope="module")
def start_once(model: Model) -> Iterator[Start]:
    """Start a service of `model` with the settings given; it ends with the module."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(_running(model, settings))

"""The Python API: `load` a bundle and classify photos with the Model.

Photos become pixels by the contract, as everywhere. docs/python-api.md describes the answers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.signature import open_signed
from vegrt.errors import DataError, VegrtError
from vegrt.infer.answers import Prediction, Score, predictions
from vegrt.infer.decode.photo import Photo, prepared, to_pixels
from vegrt.infer.decode.read_ahead import read_ahead
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.objective import Objective, Work
from vegrt.infer.runtimes.open import open_runner
from vegrt.infer.runtimes.runner import Answers, BundleRunner, Device, Runner
from vegrt.infer.trust.judge import Judge
from vegrt.infer.trust.store import needs_embeddings, open_judge

__all__ = ["Model", "Prediction", "Score", "load"]

OnError: TypeAlias = Literal["raise", "return"]
_SinglePhoto: TypeAlias = "str | Path | bytes | Image.Image"

BATCH = 16
TOP_K = 5


def load(
    path: str | Path,
    *,
    variant: str | None = None,
    runtime: str | None = None,
    device: Device | None = None,
    threads: int = 0,
    batch: int = BATCH,
    objective: Objective | None = None,
    images: int | None = None,
    public_key: str | Path | None = None,
    reject: bool = False,
) -> Model:
    """Return the bundle at `path` as a Model, its artifacts verified by SHA-256.

    public_key: file with the ed25519 key (PEM) whose signature the bundle must have; results outside the signature are ignored.
    variant, runtime, device: None for the fastest that passed the gate and loads here. threads: 0 for all cores that this process
    may use. batch: photos per call of the runner. objective: `latency` for the shortest time of one photo, `throughput` for the
    most photos per second; None for the shortest time for so many `images`, loading included, or `latency` if that is None too.
    reject: calibrate the probabilities, and judge for each prediction whether to accept it, by what `vegrt trust` learned.
    Raises VegrtError when no variant runs here, and for reject when nothing was learned of the one that runs.
    """
    if images is not None and images < 1:
        raise VegrtError(f"images: {images}; expected 1 or more")
    bundle = open_signed(Path(path), None if public_key is None else Path(public_key))
    work = None if images is None else Work(images, max(1, batch))
    loaded = open_runner(
        bundle,
        variant,
        runtime,
        device,
        threads=threads,
        embeddings=needs_embeddings if reject else False,
        objective=objective,
        work=work,
    )
    judge = open_judge(loaded.bundle, loaded.candidate) if reject else None
    return Model(loaded.bundle, loaded.candidate, loaded.runner, reason=loaded.reason, batch=batch, judge=judge)


class Model:
    """A loaded bundle. Safe to use from several threads: photos are decoded in parallel, the runner takes one batch at a time.

    reason: why this variant and runtime were chosen. judge: what decides whether to accept an answer; None if nothing does.
    """

    def __init__(
        self,
        bundle: Bundle,
        candidate: Candidate,
        runner: Runner,
        *,
        reason: str = "",
        batch: int = BATCH,
        judge: Judge | None = None,
    ) -> None:
        if batch < 1:
            raise VegrtError(f"batch: {batch}; expected 1 or more")
        self.bundle, self.candidate, self.reason, self.batch = bundle, candidate, reason, batch
        self.judge = judge
        self._runner, self._lock = runner, threading.Lock()

    def __repr__(self) -> str:
        return f"Model({str(self.bundle.path)!r}, variant={self.variant!r}, runtime={self.runtime!r})"

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names, in the order of the logits."""
        return self.bundle.manifest.classes

    @property
    def size(self) -> int | tuple[int, int]:
        """Return the side of a prepared image, in pixels; (height, width) if it is not square."""
        return self.bundle.manifest.contract.size

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of a prepared image, (H, W, 3)."""
        return self.bundle.manifest.contract.shape

    @property
    def variant(self) -> str:
        """Return the variant that runs: fp32, fp16, int8 or int8-cpu."""
        return self.candidate.variant

    @property
    def runtime(self) -> str:
        """Return the name of the runtime, with its plug-in provider if there is one."""
        return self.candidate.runtime_name

    @property
    def device(self) -> str:
        """Return the device: cpu or cuda."""
        return self._runner.device

    @overload
    def predict(self, images: _SinglePhoto, *, top_k: int = ..., on_error: OnError = ...) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload  # type checkers know no array's rank: three dimensions give a Prediction, four a list
    def predict(self, images: NDArray[np.uint8], *, top_k: int = ..., on_error: OnError = ...) -> Any: ...
    @overload
    def predict(
        self, images: Iterable[Photo], *, top_k: int = ..., on_error: Literal["raise"] = ...
    ) -> list[Prediction]: ...
    @overload
    def predict(
        self, images: Iterable[Photo], *, top_k: int = ..., on_error: Literal["return"]
    ) -> list[Prediction | DataError]: ...
    def predict(self, images: Any, *, top_k: int = TOP_K, on_error: OnError = "raise") -> Any:
        """Return the prediction of one photo (a Prediction) or of many (a list in their order).

        One photo: a path, the bytes of an image file, a PIL image, or uint8 RGB (height, width, 3) of any size, which is
        resized and cropped by the contract. Many: any iterable of those, or (N, H, W, 3) uint8 RGB, already prepared, of the
        model's `shape`.
        top_k: number of classes in `top`. on_error: with many photos, whether the DataError of an unreadable photo is raised,
        or returned in its place in the list. With one photo, it is always raised.
        """
        if isinstance(images, np.ndarray) and images.ndim == 4:
            return list(self._answer_batch(prepared(images, self.shape), top_k))
        if isinstance(images, str | Path | bytes | Image.Image | np.ndarray):
            pixels = to_pixels(images, self.bundle.manifest.contract)
            (answer,) = self._answer([pixels], _at_least_one(top_k))
            return answer
        return list(self.predict_iter(images, top_k=top_k, on_error=on_error))

    @overload
    def predict_iter(
        self, images: Iterable[Photo], *, top_k: int = ..., on_error: Literal["raise"] = ...
    ) -> Iterator[Prediction]: ...
    @overload
    def predict_iter(
        self, images: Iterable[Photo], *, top_k: int = ..., on_error: Literal["return"]
    ) -> Iterator[Prediction | DataError]: ...
    def predict_iter(
        self, images: Iterable[Photo], *, top_k: int = TOP_K, on_error: OnError = "raise"
    ) -> Iterator[Any]:
        """Yield the predictions of many photos, in their order and in bounded memory: two batches are read ahead.

        `images` may be endless, and is iterated in the caller's thread.
        """
        if on_error not in ("raise", "return"):
            raise VegrtError(f"on_error: {on_error!r}; expected 'raise' or 'return'")
        return self._stream(images, _at_least_one(top_k), on_error)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 logits of (N, H, W, 3) uint8 RGB prepared images, in one call of the runner."""
        pixels = prepared(images, self.shape)
        with self._lock:
            return self._runner.logits(pixels)

    def columns(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of (N, H, W, 3) prepared images, (N, K), followed by the features if the judge needs them."""
        if self.judge is None or not self.judge.needs_embeddings:
            return self.logits(images)
        pixels = prepared(images, self.shape)
        with self._lock:
            answers = cast(BundleRunner, self._runner).answers(pixels)
        return np.concatenate([answers.logits, answers.features(self.judge.parts)], axis=1)

    def predictions_of(self, columns: NDArray[np.float32], top_k: int) -> list[Prediction]:
        """Return the predictions of N photos from what `columns` returned for them."""
        count = len(self.classes)
        ends = np.cumsum([count, *(self.judge.parts if self.judge else ())])[:-1]
        logits, *features = np.split(columns, ends, axis=1)
        judged = self.judge.judge(Answers(logits, *features)) if self.judge else None
        return predictions(logits, self.classes, top_k, judged)

    def _stream(self, images: Iterable[Photo], top_k: int, on_error: OnError) -> Iterator[Prediction | DataError]:
        contract = self.bundle.manifest.contract
        for results in read_ahead(images, lambda photo: to_pixels(photo, contract), self.batch):
            readable = [result for result in results if not isinstance(result, DataError)]
            answers = iter(self._answer(readable, top_k))
            for result in results:
                if not isinstance(result, DataError):
                    yield next(answers)
                elif on_error == "raise":
                    raise result
                else:
                    yield result

    def _answer(self, images: Sequence[NDArray[np.uint8]], top_k: int) -> list[Prediction]:
        return self.predictions_of(self.columns(np.stack(images)), top_k) if images else []

    def _answer_batch(self, images: NDArray[np.uint8], top_k: int) -> Iterator[Prediction]:
        for start in range(0, len(images), self.batch):
            yield from self.predictions_of(self.columns(images[start : start + self.batch]), _at_least_one(top_k))


def _at_least_one(top_k: int) -> int:
    if top_k < 1:
        raise VegrtError(f"top_k: {top_k}; expected 1 or more")
    return top_k

"""The batcher alone: rows go to whom they belong to, nobody waits for nothing, and no more than the queue is inside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vegrt.infer.serve.batcher import Batcher
from vegrt.infer.serve.refusal import Overloaded, Refusal, TooLarge

FOREVER_S = 3600.0


class Rows:
    """A runner whose logits of an image are its first pixel, in an output buffer that it reuses as TensorRT's does."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self._output = np.zeros((64, 3), np.float32)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.entered.release()
        assert self.gate.wait(60)
        self.sizes.append(len(images))
        self._output[: len(images)] = images[:, 0, 0]
        return self._output[: len(images)]


@contextmanager
def batcher(run: Callable[..., Any], **options: Any) -> Iterator[Batcher]:
    words = {"max_batch": 4, "max_delay_s": 0.0, "queue": 64} | options
    service = Batcher(run, **words)
    try:
        yield service
    finally:
        service.close()


def images_of(numbers: list[int]) -> NDArray[np.uint8]:
    images = np.zeros((len(numbers), 2, 2, 3), np.uint8)
    images[:, 0, 0] = np.array(numbers)[:, None] + np.arange(3)
    return images


async def ask(batch: Batcher, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    with batch.admit() as seat:
        return await batch.logits(seat, images)


def run(*tasks: Awaitable[Any]) -> list[Any]:
    async def together() -> list[Any]:
        return await asyncio.wait_for(asyncio.gather(*tasks), 60)

    return asyncio.run(together())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 6), st.sampled_from([0.0, 0.001]))
def test_every_request_gets_the_rows_of_its_own_images(sizes: list[int], max_batch: int, delay_s: float) -> None:
    starts = np.cumsum([0, *sizes])
    requests = [images_of(list(range(first, first + size))) for first, size in zip(starts, sizes, strict=False)]
    rows = Rows()
    with batcher(rows, max_batch=max_batch, max_delay_s=delay_s, queue=200) as service:
        answers = run(*(ask(service, images) for images in requests))
        assert service.inside == service.waiting == 0
    for images, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer, images[:, 0, 0])
    assert sum(rows.sizes) == sum(sizes)
    assert max(rows.sizes) <= max_batch


def test_a_lone_request_does_not_wait_for_others_that_are_not_there() -> None:
    rows = Rows()
    with batcher(rows, max_delay_s=FOREVER_S) as service:
        run(ask(service, images_of([7])))
    assert rows.sizes == [1]


def test_an_image_waits_for_one_that_is_being_decoded_and_both_go_together() -> None:
    rows = Rows()

    async def late(service: Batcher) -> None:
        with service.admit() as seat:
            early = asyncio.create_task(ask(service, images_of([1])))
            while not service.waiting:
                await asyncio.sleep(0.01)
            await asyncio.gather(early, service.logits(seat, images_of([2])))

    with batcher(rows, max_delay_s=FOREVER_S) as service:
        run(late(service))
    assert rows.sizes == [2]


def test_an_image_waits_no_longer_when_the_other_request_fails() -> None:
    rows = Rows()

    async def failing(service: Batcher) -> None:
        with service.admit():
            early = asyncio.create_task(ask(service, images_of([1])))
            while not service.waiting:
                await asyncio.sleep(0.01)
        await early

    with batcher(rows, max_delay_s=FOREVER_S) as service:
        run(failing(service))
    assert rows.sizes == [1]


def test_no_more_than_the_queue_is_admitted_and_places_come_back() -> None:
    with batcher(Rows(), queue=3) as service:
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(service.admit())
            assert service.inside == 3
            with pytest.raises(Overloaded, match="3 of 3"), service.admit():
                pass
            with pytest.raises(Overloaded, match="3 of 3"):
                service.check_room()
        assert service.inside == 0
        run(ask(service, images_of([1, 2, 3])))
        with pytest.raises(TooLarge, match="4 images in one request; expected at most 3"):
            run(ask(service, images_of([1, 2, 3, 4])))
        with service.admit(), pytest.raises(Overloaded):
            run(ask(service, images_of([1, 2, 3])))
        assert service.inside == 0


def test_what_is_cancelled_while_it_waits_is_not_computed() -> None:
    rows = Rows()
    rows.gate.clear()

    async def scene(service: Batcher) -> NDArray[np.float32]:
        running = asyncio.create_task(ask(service, images_of([1])))
        while not rows.entered.acquire(blocking=False):
            await asyncio.sleep(0.01)
        given_up = asyncio.create_task(ask(service, images_of([2, 3])))
        later = asyncio.create_task(ask(service, images_of([4])))
        while service.waiting < 3:
            await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.wait([given_up])
        rows.gate.set()
        await running
        return await later

    with batcher(rows) as service:
        (answer,) = run(scene(service))
    np.testing.assert_array_equal(answer, [[4, 5, 6]])
    assert rows.sizes == [1, 1]


def test_a_runner_that_fails_costs_its_batch_and_not_the_service(caplog: pytest.LogCaptureFixture) -> None:
    def fails_for_zero(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not images[:, 0, 0, 0].all():
            raise RuntimeError("out of memory")
        return images[:, 0, 0].astype(np.float32)

    with batcher(fails_for_zero) as service:
        with pytest.raises(Refusal, match="the runner failed") as caught:
            run(ask(service, images_of([0])))
        assert caught.value.status == 500
        assert "out of memory" in caplog.text
        np.testing.assert_array_equal(run(ask(service, images_of([5])))[0], [[5, 6, 7]])


def test_closing_answers_what_waits_and_refuses_what_comes() -> None:
    rows = Rows()
    rows.gate.clear()

    async def scene(service: Batcher) -> list[NDArray[np.float32]]:
        waiting = [asyncio.create_task(ask(service, images_of([number]))) for number in range(7)]
        while service.waiting < 3:  # the others are with the runner
            await asyncio.sleep(0.01)
        closing = asyncio.create_task(asyncio.to_thread(service.close))
        while service.ready:
            await asyncio.sleep(0.01)
        with pytest.raises(Overloaded, match="shutting down"):
            await ask(service, images_of([9]))
        rows.gate.set()
        await closing
        return await asyncio.gather(*waiting)

    with batcher(rows) as service:
        (answers,) = run(scene(service))
    np.testing.assert_array_equal(np.concatenate(answers)[:, 0], range(7))

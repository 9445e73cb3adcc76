"""The HTTP routes: Open Inference Protocol v2, a POST of one photo, metrics and the web page."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from anyio import fail_after
from fastapi import FastAPI, Request, Response
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from vegrt.infer.answers import judgement_values
from vegrt.infer.api import TOP_K, Model
from vegrt.infer.drift.counters import Counters, Saver
from vegrt.infer.serve import protocol
from vegrt.infer.serve.batcher import Batcher, Seat
from vegrt.infer.serve.body import Bodies, photo_bytes, photo_pixels
from vegrt.infer.serve.clients import client_of
from vegrt.infer.serve.metrics import Metrics, RequestCounter
from vegrt.infer.serve.openapi import document
from vegrt.infer.serve.origins import Hosts, OriginGuard
from vegrt.infer.serve.page import page_and_policy
from vegrt.infer.serve.refusal import Overloaded, Refusal
from vegrt.infer.serve.settings import ServerSettings
from vegrt.machine import usable_cores
from vegrt.version import __version__

Route = Callable[..., Awaitable[Response]]
_LONG_JSON = 65_536  # bytes; longer JSON is parsed in a thread, so that other requests do not wait


class Service:
    """A model with its batcher and decode threads. close() stops both after the accepted requests are answered.

    counters: of what the model's judge decides; they are saved now and then, and at the end.
    """

    def __init__(self, model: Model, settings: ServerSettings, counters: Counters | None = None) -> None:
        self.model, self.settings = model, settings
        self.name = protocol.model_name(model.bundle.manifest.name)
        self.bodies = Bodies(settings)
        self.metrics = Metrics(
            inside=lambda: self.batcher.inside,
            waiting=lambda: self.batcher.waiting,
            reading=lambda: self.bodies.reading,
            counters=counters,
        )
        self.batcher = Batcher(
            model.columns,
            max_batch=settings.max_batch,
            max_delay_s=settings.max_delay_ms / 1000,
            queue=settings.queue,
            client_queue=settings.share_of(settings.queue),
            on_batch=self.metrics.count_batch,
        )
        self._saver = Saver(counters) if counters else None
        self._pool = ThreadPoolExecutor(max(2, int(usable_cores())), thread_name_prefix="decode")

    def close(self) -> None:
        """Answer the waiting requests, then stop the threads."""
        self.batcher.close()
        self._pool.shutdown()
        if self._saver:
            self._saver.close()

    async def predict(self, request: Request) -> Response:
        """Answer POST /v1/predict."""
        started = time.perf_counter()
        model, settings = self.model, self.settings
        top_k = _top_k(request)
        client = _client(request)
        self.batcher.check_room(client)
        async with self.bodies.read(request, client) as body:
            with self.batcher.admit(client) as seat:
                kind = request.headers.get("content-type", "")
                contract = model.bundle.manifest.contract
                photo = await photo_bytes(body, kind)
                pixels = await self._in_thread(photo_pixels, photo, contract, settings.max_pixels)
                columns = await self._columns(seat, pixels)
        (answer,) = model.predictions_of(columns, top_k)
        facts = {"bundle": model.bundle.manifest.name, "variant": model.variant}
        top = [{"label": score.label, "probability": score.probability, "index": score.index} for score in answer.top]
        best = {"label": answer.label, "probability": answer.probability, "top": top}
        best |= judgement_values(answer.judgement)
        return _json(best | facts | {"ms": round(1000 * (time.perf_counter() - started), 3)})

    async def infer(self, request: Request) -> Response:
        """Answer POST /v2/models/NAME/infer."""
        header = request.headers.get("inference-header-content-length")
        _parameters(request, ())
        client = _client(request)
        self.batcher.check_room(client)
        async with self.bodies.read(request, client) as body:
            with self.batcher.admit(client) as seat:
                parsed = await self._parsed(body, header)
                logits = (await self._columns(seat, parsed.images))[:, : len(self.model.classes)]
        content, json_length = protocol.render_infer(parsed, logits, self.name, self.model.classes)
        if json_length is None:
            return Response(content, media_type="application/json")
        headers = {"Inference-Header-Content-Length": str(json_length)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    async def _parsed(self, body: bytes, header: str | None) -> protocol.InferRequest:
        """Return the request in a body, parsed in a thread if its JSON is long."""
        if (header is not None and len(header) < 6) or len(body) <= _LONG_JSON:
            return protocol.parse_infer(body, header, self.model.shape)
        parsed: protocol.InferRequest = await self._in_thread(protocol.parse_infer, body, header, self.model.shape)
        return parsed

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def _columns(self, seat: Seat, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            with fail_after(self.settings.answer_timeout_s):
                return await self.batcher.logits(seat, images)
        except TimeoutError as error:
            raise Refusal(f"no answer within {self.settings.answer_timeout_s:g} s", 504) from error


def build_app(service: Service, hosts: Hosts) -> FastAPI:
    """Return the ASGI application of a service; it closes the service when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, service.close)

    app = FastAPI(
        openapi_url=None, lifespan=lifespan
    )  # `document` is used instead; FastAPI's own pages load scripts from other servers
    _add_server(app, service)
    _add_model(app, service)
    _add_pages(app, service)
    _add_errors(app)
    infer = f"/v2/models/{service.name}/infer"
    endpoints = {"/v1/predict": "predict", infer: "infer", f"/v2/models/{service.name}/versions/1/infer": "infer"}
    app.add_middleware(OriginGuard, hosts=hosts)
    app.add_middleware(RequestCounter, metrics=service.metrics, endpoints=endpoints)
    return app


def _add_server(app: FastAPI, service: Service) -> None:
    app.post("/v1/predict")(service.predict)

    @_get(app, "/v2")
    async def server() -> Response:
        return _json({"name": "vegrt", "version": __version__, "extensions": protocol.EXTENSIONS})

    @_get(app, "/v2/health/live")
    async def live() -> Response:
        return _json({"live": True})

    @_get(app, "/v2/health/ready")
    async def ready() -> Response:
        return _json({"ready": service.batcher.ready}, 200 if service.batcher.ready else 503)


def _add_model(app: FastAPI, service: Service) -> None:
    """Add the routes of the model, each with and without a version."""
    model = service.model
    metadata = protocol.model_metadata(service.name, model.runtime, model.shape, len(model.classes))

    async def metadata_of_model(request: Request) -> Response:
        _check_model(service, request)
        return _json(metadata)

    async def ready(request: Request) -> Response:
        _check_model(service, request)
        is_ready = service.batcher.ready
        return _json({"name": service.name, "ready": is_ready}, 200 if is_ready else 503)

    async def infer(request: Request) -> Response:
        _check_model(service, request)
        return await service.infer(request)

    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        _get(app, path)(metadata_of_model)
        _get(app, f"{path}/ready")(ready)
        app.post(f"{path}/infer")(infer)


def _add_pages(app: FastAPI, service: Service) -> None:
    page, policy = page_and_policy(service.model)
    description = document(service.name, service.model.shape, service.model.classes)
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }

    @_get(app, "/")
    async def front() -> Response:
        return Response(page, headers=headers, media_type="text/html; charset=utf-8")

    @_get(app, "/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @_get(app, "/openapi.json")
    async def openapi() -> Response:
        return _json(description)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Overloaded) else {}
        return _json({"error": str(error)}, error.status, headers | ({"Connection": "close"} if error.closes else {}))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        return _json(
            {"error": f"{request.method[:20]} {request.url.path[:200]}: {error.detail}"},
            error.status_code,
            error.headers,
        )

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return _json({"error": "internal error; see the service's log"}, 500)


def _get(app: FastAPI, path: str) -> Callable[[Route], Route]:
    return app.api_route(path, methods=["GET", "HEAD"])


def _client(request: Request) -> str:
    """Return the client that sent a request; empty if it has no address, as on a Unix socket."""
    return client_of(request.client.host) if request.client else ""


def _check_model(service: Service, request: Request) -> None:
    name, version = request.path_params["name"], request.path_params.get("version", protocol.VERSION)
    if (name, version) != (service.name, protocol.VERSION):
        raise Refusal(
            f"model {name[:80]!r} version {version[:20]!r}: unknown; expected {service.name!r} version '1'", 404
        )
    _parameters(request, ())


def _parameters(request: Request, known: Collection[str]) -> dict[str, str]:
    """Return the query parameters. Raises Refusal for an unknown or repeated one, so that none is silently ignored."""
    parameters = request.query_params.multi_items()
    for number, (name, _) in enumerate(parameters):
        if name not in known:
            allowed = f"; expected {', '.join(known)}" if known else "; this path has no parameters"
            raise Refusal(f"query parameter {name[:40]!r}: unknown{allowed}")
        if any(name == earlier for earlier, _ in parameters[:number]):
            raise Refusal(f"query parameter {name!r}: repeated; expected at most one")
    return dict(parameters)


def _top_k(request: Request) -> int:
    text = _parameters(request, ("top_k",)).get("top_k", str(TOP_K))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= 1):
        raise Refusal(f"top_k: {text[:20]!r}; expected a number of classes, 1 or more")
    return int(text)


def _json(value: dict[str, Any], status: int = 200, headers: Any = None) -> Response:
    content = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return Response(content, status, headers, media_type="application/json")

"""vegrt serve: a bundle over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options.shared import (
    BundleArgument,
    DeviceOption,
    ObjectiveName,
    ObjectiveOption,
    PublicKeyOption,
    RuntimeOption,
)


def serve(
    bundle: BundleArgument,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0: all addresses. There is no authentication.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free port, which is logged.")
    ] = 8000,
    variant: Annotated[
        str | None, typer.Option(help="Variant to run; default: the fastest that passed the gate.")
    ] = None,
    runtime: RuntimeOption = None,
    device: DeviceOption = None,
    objective: ObjectiveOption = ObjectiveName.latency,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of the runtime; 0: all cores that this process may use.")
    ] = 0,
    max_batch: Annotated[int, typer.Option(min=1, help="Largest batch, in images.")] = 16,
    max_delay_ms: Annotated[float, typer.Option(min=0, help="Longest wait in ms for a batch to fill.")] = 5.0,
    queue: Annotated[
        int, typer.Option(min=1, help="Largest number of images in the service; more are refused with status 503.")
    ] = 128,
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest request body, in bytes.")] = 16 * 2**20,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Largest photo, in pixels, checked before decoding.")
    ] = 34_000_000,
    max_connections: Annotated[
        int, typer.Option(min=1, help="Largest number of connections; fewer if the limit of open files is lower.")
    ] = 800,
    header_timeout_s: Annotated[float, typer.Option(help="Longest time in s for a request's header to arrive.")] = 10.0,
    idle_timeout_s: Annotated[
        float, typer.Option(help="Longest time in s between two requests of a connection.")
    ] = 30.0,
    body_timeout_s: Annotated[float, typer.Option(help="Longest time in s for a whole body to arrive.")] = 30.0,
    min_rate: Annotated[
        int,
        typer.Option(
            min=1, help="Lowest rate of a body in bytes/s, on average, after the first --header-timeout-s seconds."
        ),
    ] = 4096,
    client_share: Annotated[
        float | None,
        typer.Option(
            help="Largest share of queue, connections and body memory for one client address, above 0 to 1; default: 0.5, and 1 "
            "on loopback. Use 1 behind a reverse proxy.",
            show_default=False,
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="Additional host name that browsers may use; may be repeated."),
    ] = None,
    reject: Annotated[
        bool,
        typer.Option(
            "--reject",
            help="Calibrate probabilities and decide for each photo: accept, unsure or foreign; needs vegrt trust.",
        ),
    ] = False,
    counters: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --reject: count answers by the hour in a JSON file, for vegrt drift, and at /metrics.",
        ),
    ] = None,
    public_key: PublicKeyOption = None,
) -> None:
    """Serve a bundle over HTTP.

    Web page at /, photos at /v1/predict, Open Inference Protocol at /v2, Prometheus metrics at /metrics. Requests are batched.
    On SIGTERM or Ctrl-C, the service answers accepted requests and stops. See docs/serving.md.
    """
    from vegrt.errors import VegrtError, require

    if counters is not None and not reject:
        raise VegrtError("--counters: counts what --reject decides; add --reject")
    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        require(module, "serve")
    from vegrt.infer.api import load
    from vegrt.infer.drift.counters import open_counters
    from vegrt.infer.serve.origins import is_local
    from vegrt.infer.serve.server import serve as run_serve
    from vegrt.infer.serve.settings import ServerSettings

    settings = ServerSettings(
        max_batch=max_batch,
        max_delay_ms=max_delay_ms,
        queue=queue,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        max_connections=max_connections,
        header_timeout_s=header_timeout_s,
        idle_timeout_s=idle_timeout_s,
        body_timeout_s=body_timeout_s,
        min_rate=min_rate,
        client_share=client_share if client_share is not None else 1.0 if is_local(host) else 0.5,
        allowed_hosts=tuple(allowed_host or ()),
    )
    model = load(
        bundle,
        variant=variant,
        runtime=runtime,
        device=device.value if device else None,
        threads=threads,
        objective=objective.value,
        public_key=public_key,
        reject=reject,
    )
    counting = open_counters(counters, model.bundle, model.candidate, model.judge) if counters and model.judge else None
    run_serve(model, host, port, settings, counting)

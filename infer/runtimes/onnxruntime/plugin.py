"""Sessions on a plug-in provider of ONNX Runtime: `openvino,hardware=npu` and whatever else its package understands.

The provider runs every node of the model, or opening it is an error, unless `fallback=cpu` lets the CPU provider run the rest;
then the log says how many nodes it runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vegrt.errors import ModelError, VegrtError, require
from vegrt.files.user_cache import cache_home
from vegrt.infer.machine.provider_plugins import PluginPackage, devices_of, find_plugin, register
from vegrt.infer.runtimes.onnxruntime.providers import make_cache, session_words
from vegrt.machine import available_cores, examine_machine

log = logging.getLogger(__name__)

SEPARATOR = "+"  # between the runtime and the provider in a candidate's name
_OWN = {"hardware": ("cpu", "gpu", "npu"), "fallback": ("cpu",), "context": ("keep",)}
_CPU_PROVIDER = "CPUExecutionProvider"
_FATAL = 4
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class PluginProvider:
    """What `--provider` names: NAME[,key=value,...].

    hardware: kind of device to run on: cpu, gpu or npu. fallback: whether the CPU provider may run what this one does not take.
    context: whether to keep the model as the provider compiled it. options: the provider's own.
    """

    text: str
    name: str
    hardware: str = "cpu"
    fallback: bool = False
    context: bool = False
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PluginModel:
    """What a session loads. subject: its name in messages. sha256: of the model, for the cache. exact: whether it is fp32."""

    model: Path | bytes
    subject: str
    sha256: str
    exact: bool = False


def parse_provider(text: str) -> PluginProvider:
    """Return the provider that a text names. Raises VegrtError for a wrong form, or a wrong value of a key of vegrt's own."""
    name, *parts = re.split(r",(?=[\w.-]+=)", text)  # a value may have commas: JSON has
    pairs = [part.partition("=")[::2] for part in parts]
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise VegrtError(f"provider {text!r}: expected NAME[,key=value,...], such as openvino,hardware=npu")
    stated = dict(pairs)
    for key, allowed in _OWN.items():
        if key in stated and stated[key] not in allowed:
            raise VegrtError(f"provider {text!r}: {key}={stated[key]}; expected {key}={'|'.join(allowed)}")
    return PluginProvider(
        text,
        name,
        stated.get("hardware", "cpu"),
        "fallback" in stated,
        "context" in stated,
        tuple((key, value) for key, value in stated.items() if key not in _OWN),
    )


def open_plugin_session(
    file: PluginModel, provider: PluginProvider, *, disabled: list[str] | None = None, threads: int = 0
) -> Any:
    """Return an onnxruntime.InferenceSession on a plug-in provider. disabled: passes of ONNX Runtime to leave out.

    Raises MissingExtraError for a package that is missing, VegrtError when it offers no such device here, ModelError when it
    does not run the whole model and `fallback=cpu` does not allow that.
    """
    ort = require("onnxruntime", "cpu")
    package = find_plugin(provider.name)
    device = _device(ort, package, provider)
    context = _context_file(ort, file, provider, package) if provider.context else None
    unfinished = context.with_name(f"{context.stem}-{os.getpid()}.onnx") if context and not context.exists() else None
    options = _options(ort, device, provider, exact=file.exact, threads=threads)
    if not provider.fallback:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if unfinished:
        for key, value in (("enable", "1"), ("embed_mode", "1"), ("file_path", str(unfinished))):
            options.add_session_config_entry(f"ep.context_{key}", value)
    try:
        session = _session(ort, context if context and not unfinished else file.model, options, disabled)
    except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception
        raise _failure(ort, file, provider, device, disabled, error) from error
    if context and unfinished and unfinished.exists():  # a provider without such models writes none
        unfinished.replace(context)
    _log_nodes(session, file.subject, provider)
    return session


def _device(ort: Any, package: PluginPackage, provider: PluginProvider) -> Any:
    devices = devices_of(ort, register(ort, package))
    for device, handle in devices:
        if device.hardware == provider.hardware:
            return handle
    offered = ", ".join(dict.fromkeys(f"{device.hardware} ({device.vendor})" for device, _ in devices)) or "none"
    cure = next((f"add hardware={device.hardware}" for device, _ in devices), "see: vegrt doctor")
    raise VegrtError(
        f"provider {provider.name!r}: no {provider.hardware} of this machine is one of its devices; it offers {offered}; {cure}"
    )


def _options(ort: Any, device: Any, provider: PluginProvider, *, exact: bool, threads: int) -> Any:
    ort.set_default_logger_severity(_FATAL)  # its errors are told in the exception
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads or available_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_provider_for_devices(
        [device], {**_defaults(provider, exact=exact, threads=threads), **dict(provider.options)}
    )
    return options


def _defaults(provider: PluginProvider, *, exact: bool, threads: int) -> dict[str, str]:
    """Return the options without which a provider would compute fp32 in fewer bits, or ignore the number of threads.

    OpenVINO computes float32 models in bfloat16 on a CPU that has it: logits of ResNet18 were off by 0.05 (1.8.1).
    """
    if (provider.name, provider.hardware) != ("openvino", "cpu"):
        return {}
    hints: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads or available_cores()}
    if exact:
        hints["INFERENCE_PRECISION_HINT"] = "f32"
    return {"load_config": json.dumps({"CPU": hints})}


def _session(ort: Any, model: Path | bytes, options: Any, disabled: list[str] | None) -> Any:
    source = str(model) if isinstance(model, Path) else model
    return ort.InferenceSession(source, options, disabled_optimizers=disabled, enable_fallback=0)


def _context_file(ort: Any, file: PluginModel, provider: PluginProvider, package: PluginPackage) -> Path:
    """Return where the compiled model is kept: one for each model, provider with its options, processor, and versions of both."""
    parts = (file.sha256, provider.text, package.version, ort.__version__, examine_machine().cpu.model)
    folder = cache_home() / "provider-contexts"
    make_cache(folder)
    return folder / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}.onnx"


def _failure(
    ort: Any, file: PluginModel, provider: PluginProvider, device: Any, disabled: list[str] | None, error: Exception
) -> VegrtError:
    """Return the error for a session that could not be made: with the nodes that are left to the CPU, if that was the reason."""
    words = session_words(error)
    if not provider.fallback and "fallback to CPU EP has been explicitly disabled" in str(error):
        try:
            options = _options(ort, device, provider, exact=file.exact, threads=0)
            left, count = _nodes_on_cpu(_session(ort, file.model, options, disabled))
        except Exception:
            left, count = Counter(), 0
        if count:
            return ModelError(
                f"{file.subject}: {provider.name} leaves {left.total()} of {count} nodes to the CPU ({_shown(left)}); "
                "add fallback=cpu to run them there"
            )
    return ModelError(f"{file.subject}: ONNX Runtime cannot load it with provider {provider.name!r} ({words})")


def _log_nodes(session: Any, subject: str, provider: PluginProvider) -> None:
    left, count = _nodes_on_cpu(session)
    if left:
        log.warning(
            "%s: %s runs %d of %d nodes, the CPU %s", subject, provider.name, count - left.total(), count, _shown(left)
        )
    else:
        log.debug("%s: %s runs all %d nodes", subject, provider.name, count)


def _shown(nodes: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in nodes.most_common(_SHOWN))


def _nodes_on_cpu(session: Any) -> tuple[Counter[str], int]:
    """Return the nodes that the CPU provider runs, by operator, and the number of all nodes."""
    left: Counter[str] = Counter()
    count = 0
    for part in session.get_provider_graph_assignment_info():
        nodes = part.get_nodes()
        count += len(nodes)
        if part.ep_name == _CPU_PROVIDER:
            left.update(node.op_type for node in nodes)
    return left, count

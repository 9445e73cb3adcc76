"""Sixty architectures of timm and torchvision through a whole export: parity, fp16, int8, int8-cpu, and TensorRT-RTX plans.

    python tests/slow/sweep.py RESULTS [NETWORK...] [--rtx] [--limit-s 900] [--again failed|all] [--page docs/models.md]

Random weights and drawn photos: nothing is downloaded. Each network has a process of its own with a time limit, and its result
in RESULTS/NETWORK.json: networks with a result are left out, so that an interrupted sweep goes on. At the end the page of all
results is written. Agreement with fp32 says how well ranges fit, not how accurate a trained network would be.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TIMM = [
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet50d",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "seresnet50",
    "resnetv2_50",
    "resnetv2_50x1_bit",
    "regnety_008",
    "regnetx_008",
    "densenet121",
    "vgg11_bn",
    "vgg16",
    "dla34",
    "hrnet_w18_small",
    "inception_v3",
    "inception_v4",
    "xception41",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
    "efficientnet_b0",
    "efficientnet_b2",
    "efficientnetv2_rw_t",
    "tf_efficientnetv2_s",
    "tf_efficientnet_lite0",
    "lcnet_100",
    "mnasnet_100",
    "ghostnet_100",
    "ghostnetv2_100",
    "tinynet_a",
    "mixnet_s",
    "hardcorenas_a",
    "fbnetc_100",
    "repvgg_a0",
    "repvgg_b0",
    "mobileone_s0",
    "mobileone_s1",
    "repghostnet_050",
    "starnet_s1",
    "convnext_atto",
    "convnext_tiny",
    "convnextv2_atto",
    "fastvit_t8",
    "edgenext_xx_small",
    "mobilevit_xxs",
    "mobilevitv2_050",
    "poolformer_s12",
    "caformer_s18",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "nextvit_small",
    "levit_128s",
    "coat_lite_tiny",
    "vit_tiny_patch16_224",
    "vit_small_patch16_224",
    "deit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "maxvit_tiny_rw_224",
    "coatnet_0_rw_224",
    "pvt_v2_b0",
    "twins_svt_small",
    "xcit_nano_12_p16_224",
    "crossvit_tiny_240",
    "eva02_tiny_patch14_224",
    "beit_base_patch16_224",
    "tiny_vit_5m_224",
]
TORCHVISION = ["alexnet", "squeezenet1_1", "googlenet", "shufflenet_v2_x1_0", "mnasnet1_0"]
NETWORKS = [*(f"timm:{name}" for name in TIMM), *(f"torchvision:{name}" for name in TORCHVISION)]
CLASSES = 15  # of the sample set
VALIDATION = 3  # photos per class: 45, of which half are observed
SIZE = 224


PAGE = """# Models that were tried

`make sweep` exports these networks with random weights (batch normalisations have the statistics of drawn photos), on {photos}
drawn photos. {passed} of {all} pass.{plans} Those of timm are trained with `--backbone timm:NAME`, those of torchvision imported
from ONNX.

- parity: smallest cosine between the logits of fp32.onnx and of torch, at batches of 1, 2, 7 and 8.
- layers: with weights that are in 8 bits in int8.onnx. share: of all multiplications of an image in 8 bits, attention included.
- agreement: photos with the top-1 of fp32 (ONNX Runtime, CPU). Random logits lie close together: it says how well ranges fit, not
  how accurate a trained network would be.
- plan: layers with weights that TensorRT-RTX computes in Half (fp16) and in Int8 (int8).

| network | parity | layers | share: int8 | int8-cpu | agreement: fp16 | int8 | int8-cpu | plan: Half, Int8 | remark |
|---|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Outcome:
    """The result of one network. error: the line that export answered with; empty if it passed. plan: of the int8 engine."""

    network: str
    seconds: float
    error: str = ""
    parity: float = 0.0
    exporter: str = ""
    agreement: dict[str, float] | None = None
    share: dict[str, float] | None = None
    layers: str = ""
    plan: str = ""
    plan_error: str = ""


def main() -> None:
    """Sweep the networks that have no result yet, and write the page."""
    parser = argparse.ArgumentParser(description="Export sixty architectures with random weights.")
    parser.add_argument("results", type=Path, help="folder for the results")
    parser.add_argument("networks", nargs="*", default=NETWORKS, help="timm:NAME or torchvision:NAME; all by default")
    parser.add_argument("--rtx", action="store_true", help="also build fp16 and int8 plans with TensorRT-RTX")
    parser.add_argument("--limit-s", type=float, default=900, help="time limit of one network, in seconds")
    parser.add_argument("--again", choices=("failed", "all"), help="export these again")
    parser.add_argument("--page", type=Path, help="write the results as a Markdown page to this file")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args()
    options.results.mkdir(parents=True, exist_ok=True)
    if options.one:
        write(options.results, outcome_of(options.networks[0], options.results / "data", rtx=options.rtx))
        return
    make_data(options.results / "data")
    for network in options.networks:
        if is_needed(read(options.results, network), options.again, rtx=options.rtx):
            sweep_one(network, options)
        say(line_of(read(options.results, network)))
    outcomes = [outcome for network in NETWORKS if (outcome := read(options.results, network))]
    if options.page:
        options.page.write_text(page_of(outcomes), encoding="utf-8")


def is_needed(outcome: Outcome | None, again: str | None, *, rtx: bool) -> bool:
    """Return whether a network has to be exported, given its last result."""
    if outcome is None or again == "all":
        return True
    if outcome.error or outcome.plan_error:
        return again == "failed"
    return rtx and not outcome.plan


def sweep_one(network: str, options: argparse.Namespace) -> None:
    """Export a network in a process of its own and write its result, also where the process ends without one."""
    file = result_file(options.results, network)
    file.unlink(missing_ok=True)
    command = [sys.executable, __file__, str(options.results), network, "--one", *(["--rtx"] if options.rtx else [])]
    start = time.monotonic()
    try:
        done = subprocess.run(command, timeout=options.limit_s, capture_output=True, text=True, check=False)
        problem = f"ended with exit code {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}"
    except subprocess.TimeoutExpired:
        problem = f"not done after {options.limit_s:.0f} s"
    if not file.exists():
        write(options.results, Outcome(network, time.monotonic() - start, problem))


def outcome_of(network: str, data: Path, *, rtx: bool) -> Outcome:
    """Return the result of a whole export of a network with random weights."""
    from vegrt.errors import VegrtError
    from vegrt.export.engines.options import ExportOptions, Profile
    from vegrt.export.stage import ExportJob, export

    logging.disable(logging.WARNING)  # of a network no better than chance
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bundle")
        try:
            make_bundle(network, path, data)
            bundle = export(
                path, data, ExportJob(False, untrained=True, options=ExportOptions(profile=Profile(1, 1, 8)))
            )
        except VegrtError as error:
            message = str(error).replace(str(path), "BUNDLE").replace(str(data), "DATA")
            return Outcome(network, time.monotonic() - start, message)
        seconds = time.monotonic() - start
        return exported_outcome(network, seconds, bundle, plans(bundle) if rtx else ("", ""))


def exported_outcome(network: str, seconds: float, bundle: Any, plan: tuple[str, str]) -> Outcome:
    """Return the figures of an exported bundle. plan: in words, and the error of the builder."""
    details = {variant: bundle.artifact("model", variant).details for variant in ("fp32", "fp16", "int8", "int8-cpu")}
    entry = bundle.manifest.calibration
    return Outcome(
        network,
        seconds,
        parity=details["fp32"]["parity"]["min_cosine"],
        exporter=details["fp32"].get("exporter", "imported"),
        agreement={variant: facts["parity"]["top1_agreement"] for variant, facts in details.items()},
        share=entry["int8_macs_share"],
        layers=f"{entry['int8_weight_layers']['int8']} of {entry['weight_layers']}",
        plan=plan[0],
        plan_error=plan[1],
    )


def plans(bundle: Any) -> tuple[str, str]:
    """Return the layers of the fp16 and int8 plans in words, and the error of the first plan that cannot be built."""
    import tensorrt_rtx

    from vegrt.errors import VegrtError
    from vegrt.export.engines.audit import audit_model, check_audit
    from vegrt.export.engines.build import build_engine
    from vegrt.export.engines.engines import WEIGHT_TYPES
    from vegrt.export.engines.options import Profile

    words: list[str] = []
    for variant in ("fp16", "int8"):
        model = bundle.file("model", variant).read_bytes()
        try:
            engine = build_engine(tensorrt_rtx, variant, model, Profile(1, 1, 8))
            audit = audit_model(engine.layers, model, WEIGHT_TYPES[variant])
            check_audit(variant, audit)
        except VegrtError as error:
            return ", ".join(words), str(error)
        words.append(f"{audit.matched} of {audit.weight_layers} {audit.wanted}")
    return ", ".join(words), ""


def make_bundle(network: str, path: Path, data: Path) -> None:
    """Write a bundle with random weights: of a backbone, or imported from ONNX as torchvision's other networks are."""
    import torch

    torch.manual_seed(0)
    library, _, name = network.partition(":")
    if library == "timm":
        make_checkpoint(network, path, data)
    else:
        import_network(name, path, data)


def make_checkpoint(backbone: str, path: Path, data: Path) -> None:
    """Write the bundle of a timm backbone."""
    from safetensors.torch import save_file

    from vegrt.backbones import build_network, contract_of, find_backbone
    from vegrt.bundle.change import changing
    from vegrt.bundle.manifest import Manifest

    architecture = find_backbone(backbone)
    contract = contract_of(backbone, architecture.size or SIZE)
    network = build_network(backbone, CLASSES)
    settle(network, [network.get_submodule(head) for head in architecture.heads], contract, data)
    with changing(path) as staging:
        tensors = {name: tensor.clone().contiguous() for name, tensor in network.state_dict().items()}
        save_file(tensors, staging.file("weights.safetensors"))
        staging.add("weights.safetensors", "weights")
        model = {"backbone": backbone, "head": "gap"}
        staging.finish(Manifest(path.name, class_names(data), contract, model))


def import_network(name: str, path: Path, data: Path) -> None:
    """Write the bundle of a torchvision network, imported from the ONNX file that torch writes."""
    import torchvision

    from vegrt.photo.contract import Contract

    extra = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    network = getattr(torchvision.models, name)(num_classes=CLASSES, **extra)
    settle(network, [], Contract(SIZE, SIZE), data)
    mean, std = list(Contract(SIZE, SIZE).mean), list(Contract(SIZE, SIZE).std)
    toml = f"size = {SIZE}\nresize = {SIZE}\nmean = {mean}\nstd = {std}\n"
    import_module(network, (SIZE, SIZE), toml, path, class_names(data))


def import_module(network: Any, size: tuple[int, int], contract: str, path: Path, classes: Sequence[str]) -> Any:
    """Return the bundle of a torch module, imported from the ONNX file that torch writes beside it. contract: TOML."""
    import torch

    from vegrt.export.imported.source import import_onnx

    files = {suffix: path.with_name(f"{path.name}.{suffix}") for suffix in ("onnx", "txt", "toml")}
    names: dict[str, Any] = {
        "input_names": ["input"],
        "output_names": ["output"],
        "dynamic_axes": {"input": {0: "N"}, "output": {0: "N"}},
    }
    torch.onnx.export(network, (torch.zeros(2, 3, *size),), files["onnx"], dynamo=False, opset_version=17, **names)
    files["txt"].write_text("\n".join(classes))
    files["toml"].write_text(contract)
    return import_onnx(path, files["onnx"], files["txt"], files["toml"])


def settle(network: Any, heads: Sequence[Any], contract: Any, data: Path) -> None:
    """Give batch normalisations the statistics of photos, and heads weights whose logits differ; both start from constants."""
    import numpy as np
    import torch
    from torch import nn

    from vegrt.networks import WithPreprocessing
    from vegrt.photo.preprocess import load_image

    for head in heads:
        for layer in head.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.normal_(layer.weight, std=1 / layer.weight[0].numel() ** 0.5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    paths = sorted((data / "validation").rglob("*.jpg"))[:: VALIDATION * 2]
    images = torch.from_numpy(np.stack([load_image(path, contract) for path in paths]))
    with torch.no_grad():
        WithPreprocessing(network.train(), contract)(images)
    network.eval()


def make_data(folder: Path) -> None:
    """Draw the photos; those of an earlier sweep stay."""
    from vegrt.train.sample.sample_set import SampleSizes, write_sample_set

    write_sample_set(folder, SampleSizes(train=1, validation=VALIDATION, test=1))


def class_names(data: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in (data / "validation").iterdir()))


def result_file(results: Path, network: str) -> Path:
    return results / f"{network.replace(':', '-')}.json"


def read(results: Path, network: str) -> Outcome | None:
    """Return a network's result; None if it has none."""
    file = result_file(results, network)
    return Outcome(**json.loads(file.read_text())) if file.exists() else None


def write(results: Path, outcome: Outcome) -> None:
    result_file(results, outcome.network).write_text(json.dumps(asdict(outcome), indent=1))


def line_of(outcome: Outcome | None) -> str:
    """Return a result as a line for the terminal."""
    if outcome is None:
        return "no result"
    share = f"share {outcome.share['int8']:.4f}" if outcome.share else ""
    text = outcome.error or f"{outcome.layers} layers, {share}; {outcome.plan} {outcome.plan_error}"
    return f"{outcome.network:40} {outcome.seconds:5.0f} s  {text}"


def page_of(outcomes: Sequence[Outcome]) -> str:
    """Return the results as a Markdown page."""
    passed = [outcome for outcome in outcomes if not outcome.error]
    planned = [outcome for outcome in passed if outcome.plan or outcome.plan_error]
    built = sum(not outcome.plan_error for outcome in planned)
    plan_words = f" TensorRT-RTX builds the plans of {built} of {len(planned)}." if planned else ""
    head = PAGE.format(photos=VALIDATION * CLASSES, passed=len(passed), all=len(outcomes), plans=plan_words)
    rows = "\n".join(row_of(outcome) for outcome in passed)
    failed = "\n".join(f"- {outcome.network}: {escaped(outcome.error)}" for outcome in outcomes if outcome.error)
    failures = f"## What fails\n\n{failed}\n\n" if failed else ""
    return f"{head}{rows}\n\n{failures}Made with {versions()}.\n"


def row_of(outcome: Outcome) -> str:
    """Return a result as a row of the page's table."""
    from vegrt.calibration.graph.work import share_percent

    if not outcome.share or not outcome.agreement:
        raise AssertionError(f"{outcome.network} was exported without figures")
    shares = [share_percent(outcome.share[variant]) for variant in ("int8", "int8-cpu")]
    agreements = [f"{outcome.agreement[variant]:.0%}" for variant in ("fp16", "int8", "int8-cpu")]
    remarks = [outcome.plan_error, "older exporter" if outcome.exporter == "torchscript" else ""]
    remark = escaped("; ".join(words for words in remarks if words))
    layers, plan = (text.replace(" of ", "/") for text in (outcome.layers, outcome.plan))
    plan = plan.replace(" Half", "").replace(" Int8", "")  # the column's head has them
    cells = [f"{outcome.parity:.6f}", layers, *shares, *agreements, plan, remark]
    return f"| {outcome.network} | {' | '.join(cells)} |"


def escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def versions() -> str:
    """Return the versions of the packages that decide."""
    from vegrt.results.header import installed_versions

    names = ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime", "tensorrt-rtx")
    return ", ".join(f"{name} {version}" for name, version in installed_versions(names).items())


def say(text: str) -> None:
    """Print a line at once, so that a long run shows where it is."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

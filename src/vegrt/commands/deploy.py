"""vegrt deploy triton, jetson and kit: write a bundle in the format of a server or a device."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import typer

from vegrt.commands.options.shared import BundleArgument, DataOption, JsonOption, show

app = typer.Typer(
    no_args_is_help=True, help="Write folders for Triton Inference Server, for Jetsons and for other devices."
)
OutArgument = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to create; must be new or empty.")]
BatchOption = Annotated[int, typer.Option("--max-batch", min=1, help="Largest batch size.")]


class Variant(str, Enum):
    """The values of --variant."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"
    int8_cpu = "int8-cpu"


class Backend(str, Enum):
    """The values of --backend."""

    onnxruntime = "onnxruntime"
    tensorrt = "tensorrt"


class TestForm(str, Enum):
    """The values of --test-as."""

    files = "files"
    arrays = "arrays"
    both = "both"


class JetPackVersion(str, Enum):
    """The values of --jetpack."""

    six = "6"
    seven = "7"


@app.command()
def triton(
    bundle: BundleArgument,
    out: OutArgument,
    variant: Annotated[
        Variant, typer.Option(help="Model to serve; use int8-cpu for servers without a GPU.")
    ] = Variant.fp32,
    backend: Annotated[
        Backend,
        typer.Option(help="Triton backend; tensorrt serves the bundle's engine, built for the server's GPU."),
    ] = Backend.onnxruntime,
    max_batch: BatchOption = 32,
    instances: Annotated[int, typer.Option(min=1, help="Number of copies of the model per device.")] = 1,
    gpu: Annotated[str, typer.Option(metavar="SM", help="GPU of the server, such as sm89, to select the engine.")] = "",
    container: Annotated[
        str,
        typer.Option(metavar="RELEASE", help="Release of the Triton container, such as 26.05, to select the engine."),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Write a Triton model repository.

    Contains config.pbtxt with dynamic batching, the labels and the model, whose input is uint8 pixels.
    """
    from vegrt.bundle.bundle import open_bundle
    from vegrt.export.deploy.triton import Serving, deploy_triton

    runtime: Literal["tensorrt", "onnxruntime"] = "tensorrt" if backend == Backend.tensorrt else "onnxruntime"
    serving = Serving(variant.value, runtime, max_batch, instances, gpu, container)
    written = deploy_triton(open_bundle(bundle), out, serving)
    if as_json:
        names = {
            "repository": str(out),
            "model": written.model.name,
            "variant": variant.value,
            "backend": backend.value,
        }
        show({**names, "artifact": written.artifact, "container": written.container, "command": written.command}, True)
    else:
        typer.echo(f"{written.model}: {variant.value}, {backend.value}; serve it: {written.command}")


@app.command()
def jetson(
    bundle: BundleArgument,
    out: OutArgument,
    max_batch: BatchOption = 32,
    jetpack: Annotated[
        JetPackVersion,
        typer.Option(help="JetPack version: 6 (6.1 or 6.2, TensorRT 10.3) or 7 (7.2.2 or later, TensorRT 11.4.1)."),
    ] = JetPackVersion.six,
    as_json: JsonOption = False,
) -> None:
    """Write a folder for a Jetson.

    Contains int8 and fp16 ONNX models, classes, a small program, and a README with the trtexec commands that build the engines on
    the device.
    """
    from vegrt.bundle.bundle import open_bundle
    from vegrt.export.deploy.jetson import JETPACKS, deploy_jetson

    names = deploy_jetson(open_bundle(bundle), out, max_batch=max_batch, jetpack=JETPACKS[jetpack.value])
    show({"folder": str(out), "files": names}, True) if as_json else typer.echo(
        f"{out}: {len(names)} files; see README.md"
    )


@app.command()
def kit(
    bundle: BundleArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to create; must be new or empty, or a kit.")],
    data: DataOption,
    calibration_photos: Annotated[
        int,
        typer.Option(min=1, help="Largest number of calibration photos; each takes 2 MB at 224x224 pixels."),
    ] = 100,
    test_photos: Annotated[
        int,
        typer.Option(
            min=1, help="Largest number of test photos, the same number of each class; all if there are fewer."
        ),
    ] = 1000,
    test_as: Annotated[
        TestForm,
        typer.Option(
            help="Store test photos as files, as one array of pixels (0.15 MB each at 224x224 pixels), or both."
        ),
    ] = TestForm.files,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is a device kit.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a folder with what a vendor's compiler and a bare device need.

    Contains the network with several kinds of input, calibration photos in the formats of RKNN-Toolkit2, Hailo, QNN and SNPE,
    test photos, golden answers, and a program with a slot for the device's runtime, which writes the answers file that
    `vegrt evaluate --answers` judges. docs/devices.md describes it.
    """
    from vegrt.bundle.bundle import open_bundle
    from vegrt.export.deploy.kit.write import KitSettings, deploy_kit

    forms: dict[TestForm, Literal["files", "arrays", "both"]] = {
        TestForm.files: "files",
        TestForm.arrays: "arrays",
        TestForm.both: "both",
    }
    settings = KitSettings(calibration_photos, test_photos, forms[test_as], overwrite)
    written = deploy_kit(open_bundle(bundle), out, data, settings)
    if as_json:
        show(written.to_dict(), True)
    else:
        typer.echo(
            f"{out}: {len(written.files)} files, {written.size_bytes / 1e6:.1f} MB; {written.calibration_photos} calibration and "
            f"{written.test_photos} test photos; see README.md. Judge the answers: {written.evaluate}"
        )

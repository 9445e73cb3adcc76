"""vegrt deploy: write a bundle in the format of a server, a device or the Hugging Face Hub."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vegrt.commands.options.shared import BundleArgument, DataOption, JsonOption, PublicKeyOption, show

if TYPE_CHECKING:
    from vegrt.export.deploy.folder import Deployed

app = typer.Typer(
    no_args_is_help=True,
    help="Write folders for servers (Triton, Docker, KServe), devices and the Hugging Face Hub.",
)
OutArgument = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to create; must be new or empty.")]
OwnOutArgument = Annotated[
    Path, typer.Argument(metavar="OUT", help="Folder to create; must be new or empty, or of this command.")
]
OverwriteOutOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace OUT if this command wrote it for some bundle.")
]
WheelOption = Annotated[
    Path | None,
    typer.Option(
        "--wheel",
        metavar="FILE",
        help="Wheel of vegrt to put into OUT; default: this version from PyPI, if it is there.",
    ),
]
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


class CpuRuntimeName(str, Enum):
    """The values of --runtime."""

    onnxruntime = "onnxruntime"
    openvino = "openvino"
    mnn = "mnn"


class TestForm(str, Enum):
    """The values of --test-as."""

    files = "files"
    arrays = "arrays"
    both = "both"


class JetPackVersion(str, Enum):
    """The values of --jetpack."""

    six = "6"
    seven = "7"


CpuRuntimeOption = Annotated[
    CpuRuntimeName, typer.Option("--runtime", help="Runtime for CPUs to install; vegrt bench shows the fastest.")
]


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
def docker(
    bundle: BundleArgument,
    out: OwnOutArgument,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Build from NVIDIA's CUDA image, with ONNX Runtime for GPUs.")
    ] = False,
    runtime: CpuRuntimeOption = CpuRuntimeName.onnxruntime,
    wheel: WheelOption = None,
    public_key: PublicKeyOption = None,
    overwrite: OverwriteOutOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a folder for `docker build`: an image that runs vegrt serve.

    Contains Dockerfile, .dockerignore, pinned packages, the bundle, which is verified by the build, and a README with the size of
    the image. The service runs as its own user. With --public-key, the image accepts only bundles signed by that key.
    """
    from vegrt.bundle.signature import open_signed
    from vegrt.export.deploy.docker.write import DockerSettings, deploy_docker

    if gpu and runtime is not CpuRuntimeName.onnxruntime:
        raise typer.BadParameter("is for CPUs; leave it out, or --gpu", param_hint="--runtime")
    settings = DockerSettings(gpu, runtime.value, wheel, overwrite)
    _show_deployed(deploy_docker(open_signed(bundle, public_key), out, settings), as_json)


@app.command()
def huggingface(
    bundle: BundleArgument,
    out: OwnOutArgument,
    card_license: Annotated[str, typer.Option(help="Licence of the model, by its Hub identifier.")] = "unknown",
    card_dataset: Annotated[str, typer.Option(help="Data set, by its Hub identifier.")] = "",
    public_key: PublicKeyOption = None,
    overwrite: OverwriteOutOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a repository for the Hugging Face Hub.

    Contains the bundle, its model card as README.md with the metadata that the Hub reads, and .gitattributes. Nothing is
    uploaded; what is downloaded from there is a bundle again. Needs the results of vegrt evaluate or vegrt bench.
    """
    from vegrt.bundle.signature import open_signed
    from vegrt.export.deploy.huggingface import deploy_huggingface
    from vegrt.report.card.card import Claims, card_markdown
    from vegrt.report.write import Sources, load_all_facts

    opened = open_signed(bundle, public_key)
    (facts,) = load_all_facts([opened], Sources())
    card = card_markdown(facts, Claims(card_license, card_dataset))
    _show_deployed(deploy_huggingface(opened, out, card, overwrite=overwrite), as_json)


@app.command()
def kserve(
    bundle: BundleArgument,
    out: OwnOutArgument,
    image: Annotated[
        str, typer.Option(help="Image with registry and tag; default: the tag that vegrt deploy docker names.")
    ] = "",
    cpus: Annotated[int, typer.Option(min=1, help="CPU cores of the service, requested and as limit.")] = 2,
    memory_mib: Annotated[
        int, typer.Option(min=0, help="Memory in MiB; 0: computed from --cpus and the largest model.")
    ] = 0,
    gpu: Annotated[bool, typer.Option("--gpu", help="Request one NVIDIA GPU.")] = False,
    overwrite: OverwriteOutOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write an InferenceService of KServe for the image of vegrt deploy docker.

    Contains the YAML with resources, probes and a restricted security context, and a README with the commands.
    """
    from vegrt.bundle.bundle import open_bundle
    from vegrt.export.deploy.kserve import KserveSettings, deploy_kserve

    settings = KserveSettings(image, cpus, memory_mib, gpu, overwrite)
    _show_deployed(deploy_kserve(open_bundle(bundle), out, settings), as_json)


@app.command()
def raspberrypi(
    bundle: BundleArgument,
    out: OwnOutArgument,
    watch: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Classify new photos of this folder on the device, in place of serving over HTTP."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0: all addresses. There is no authentication.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1024, max=65535, help="Port to listen on.")] = 8000,
    memory_max: Annotated[
        str, typer.Option(help="Largest memory of the service: a share such as 75%, or a size such as 1G.")
    ] = "75%",
    runtime: CpuRuntimeOption = CpuRuntimeName.onnxruntime,
    wheel: WheelOption = None,
    public_key: PublicKeyOption = None,
    overwrite: OverwriteOutOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a folder that installs a systemd service on a Raspberry Pi.

    Contains a hardened unit that serves over HTTP or watches a folder, its journal's limits, an install script, pinned
    packages and the bundle. With --public-key, the service accepts only bundles signed by that key.
    """
    from vegrt.bundle.signature import open_signed
    from vegrt.export.deploy.raspberrypi.write import PiSettings, deploy_raspberrypi

    settings = PiSettings(watch, host, port, memory_max, runtime.value, wheel, overwrite)
    _show_deployed(deploy_raspberrypi(open_signed(bundle, public_key), out, settings), as_json)


def _show_deployed(written: Deployed, as_json: bool) -> None:
    if as_json:
        show(written.to_dict(), True)
    else:
        size = f"{len(written.files)} files, {written.size_bytes / 1e6:.1f} MB"
        typer.echo(f"{written.folder}: {size}; see README.md. Next: {written.command}")


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

"""The README of a folder for a Jetson: what differs between the versions of JetPack, and the trtexec commands.

Nothing of it has run on a Jetson; the sources are NVIDIA's documents: TensorRT 11.4.1, "Migrating from 10.x to 11.x on
Jetson/JetPack", "Working with DLA" and "Migrating trtexec usage".
"""

from __future__ import annotations

from dataclasses import dataclass

from vegrt.export.engines.options import Profile

TRTEXEC = "/usr/src/tensorrt/bin/trtexec"


@dataclass(frozen=True, slots=True)
class JetPack:
    """A version of JetPack, as far as the folder depends on it.

    title: with the boards. contents: system, Python, CUDA and TensorRT. requirements: for pip. tensorrt: how TensorRT gets there.
    strong_typing: the flag of trtexec that keeps the types of the file. dla: whether README has a section on the DLA.
    """

    title: str
    contents: str
    requirements: str
    tensorrt: str
    strong_typing: str = ""
    dla: bool = False


# TensorRT 10.3 came with JetPack 6.1. CUDA's runtime is called by ctypes: the wheels of cuda-bindings hold a newer one than
# JetPack 6's driver may accept.
JETPACK6 = JetPack(
    title="JetPack 6.1 or 6.2 (Orin)",
    contents="Ubuntu 22.04, Python 3.10, CUDA 12.6, TensorRT 10.3",
    requirements="numpy>=1.26,<2\npillow>=10.3\nonnxruntime>=1.20,<1.24",
    tensorrt="sudo apt-get install python3-venv python3-libnvinfer      # JetPack's TensorRT: do not install it with pip",
    strong_typing="--stronglyTyped",
)
JETPACK7 = JetPack(
    title="JetPack 7.2.2 or later (AGX Orin, Thor)",
    contents="Ubuntu 24.04, Python 3.12, CUDA 13, TensorRT 11.4.1 or later",
    requirements="numpy>=1.26\npillow>=10.3\nonnxruntime>=1.20",
    tensorrt="# TensorRT 11.4.1 or later: the Debian package for Linux SBSA, see https://docs.nvidia.com/deeplearning/tensorrt\n"
    "    sudo apt-get install python3-venv tensorrt python3-libnvinfer",
    dla=True,
)

_README = """\
# {name} on a Jetson with {title}

For {contents}. Written by vegrt {version} from bundle `{name}`, manifest SHA-256
{sha256}.
**We have not run this on a Jetson.** We ran `classify.py` with the .onnx files on a PC's CPU; the commands follow NVIDIA's
documentation.

| file | content |
|---|---|
| `int8.onnx`, `{other}.onnx` | the models; all types are in the graph, so no calibration is needed here |
| `classes.txt`, `model.json` | {classes} classes in the order of the logits; the preprocessing contract |
| `classify.py`, `vegrt/` | a program that prepares pixels as in training, and the parts of vegrt that it uses |
| `golden/` | photos with the expected answers |
| `requirements.txt` | Python packages; CUDA's runtime is the system's libcudart, which the program loads itself |

## Set up once

    {tensorrt}
    python3 -m venv --system-site-packages .venv
    .venv/bin/pip install -r requirements.txt
    sudo nvpmodel -q                                  # the power mode: its name and number
    grep 'POWER_MODEL ID' /etc/nvpmodel.conf          # all modes; the number of MAXN differs from board to board
    sudo nvpmodel -m NUMBER && sudo jetson_clocks     # full speed, for meaningful timings

## Build engines

Run this on the Jetson itself; it takes some minutes. The engines accept batches of {smallest} to {largest} photos and are tuned
for {tuned}.

{build}

Every layer has the type that the file gives{typing}. Do not add `--int8`, `--fp16` or `--best`: {precision}.

## Check

    .venv/bin/python classify.py int8.engine --check      # exits with 0 if pixels and answers match the bundle
    .venv/bin/python classify.py {other}.engine --check
    .venv/bin/python classify.py int8.onnx --check        # without an engine, on the CPU (slow)

`*.layers.json` lists the types of each layer: check how many layers with weights are Int8.

## Classify images

    .venv/bin/python classify.py int8.engine photo.jpg another.jpg

## Measure the speed

{time}
{dla}"""

_DLA = """
## The DLA, on AGX Orin only

It takes one batch size, and layers that it does not support run on the GPU without a word: `fp16-dla.layers.json` lists where
each layer runs. Jetson Thor has no DLA.

{build}

    .venv/bin/python classify.py fp16-dla.engine --check
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """What the README is about. sha256: of the manifest. classes: their number. shape: of one image, (H, W, 3)."""

    name: str
    version: str
    sha256: str
    classes: int
    shape: tuple[int, int, int]


def jetson_readme(subject: Subject, jetpack: JetPack, profile: Profile, variants: tuple[str, str]) -> str:
    """Return README.md. variants: int8 and fp16, or fp32 for a network that float16 does not suit; the DLA cannot run that."""
    builds = [_build_command(variant, jetpack, _shapes(profile, subject.shape)) for variant in variants]
    return _README.format(
        name=subject.name,
        title=jetpack.title,
        version=subject.version,
        sha256=subject.sha256,
        contents=jetpack.contents,
        classes=subject.classes,
        other=variants[1],
        tensorrt=jetpack.tensorrt,
        smallest=profile.smallest,
        tuned=profile.tuned,
        largest=profile.largest,
        build="\n\n".join(builds),
        typing=f" (`{jetpack.strong_typing}`)" if jetpack.strong_typing else ", always in TensorRT 11",
        precision="they change types" if jetpack.strong_typing else "TensorRT 11 has them no more",
        time="\n\n".join(_time_command(variant, subject.shape) for variant in variants),
        dla=_DLA.format(build=_dla_command(subject.shape)) if jetpack.dla and "fp16" in variants else "",
    )


def _build_command(variant: str, jetpack: JetPack, shapes: str) -> str:
    """Return the trtexec command that builds an engine, as an indented Markdown code block."""
    files = f"{TRTEXEC} --onnx={variant}.onnx --saveEngine={variant}.engine {jetpack.strong_typing}".rstrip()
    return _command(files, shapes, "--memPoolSize=workspace:1024 --skipInference", _layers(variant))


def _dla_command(shape: tuple[int, int, int]) -> str:
    files = f"{TRTEXEC} --onnx=fp16.onnx --saveEngine=fp16-dla.engine --useDLACore=0 --allowGPUFallback"
    shapes = _shapes(Profile(1, 1, 1), shape)
    return _command(files, shapes, "--memPoolSize=workspace:1024 --skipInference", _layers("fp16-dla"))


def _time_command(variant: str, shape: tuple[int, int, int]) -> str:
    return f"    {TRTEXEC} --loadEngine={variant}.engine --shapes={_input(1, shape)} --warmUp=500 --duration=10"


def _shapes(profile: Profile, shape: tuple[int, int, int]) -> str:
    batches = {"min": profile.smallest, "opt": profile.tuned, "max": profile.largest}
    return " ".join(f"--{name}Shapes={_input(batch, shape)}" for name, batch in batches.items())


def _layers(name: str) -> str:
    return f"--profilingVerbosity=detailed --exportLayerInfo={name}.layers.json"


def _command(*lines: str) -> str:
    return "    " + " \\\n        ".join(lines)


def _input(batch: int, shape: tuple[int, int, int]) -> str:
    return "images:" + "x".join(map(str, (batch, *shape)))

"""Writes a bundle as a folder for a Jetson with JetPack 6: ONNX models, classes, a small program, and the commands to run.

Engines are built on the Jetson, by JetPack's trtexec: an engine only works on one GPU model and one TensorRT version.
"""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import vegrt.version
from vegrt.bundle.bundle import Bundle
from vegrt.export.engines.options import Profile
from vegrt.files.atomic import creating, write_json

VARIANTS = ("int8", "fp16")
_PROGRAM = "export/deploy/jetson_classify.py"

REQUIREMENTS = """\
# JetPack 6: Ubuntu 22.04, Python 3.10, CUDA 12, TensorRT 10.3. TensorRT is part of JetPack: do not install it with pip.
numpy>=1.26,<2
pillow>=10.3
cuda-bindings>=12.6,<13
onnxruntime>=1.20,<1.24  # runs the .onnx files on the CPU; the last versions for Python 3.10
"""

README = """\
# {name} on a Jetson with JetPack 6

Written by vegrt {version} from bundle `{name}`, manifest SHA-256 {sha256}.
**We have not run this on a Jetson.** We ran `classify.py` with the .onnx files on a PC's CPU; the trtexec commands follow
NVIDIA's documentation for TensorRT 10.3.

| file | content |
|---|---|
| `int8.onnx`, `fp16.onnx` | the models; all types are in the graph, so no calibration is needed here |
| `classes.txt`, `model.json` | {classes} classes in the order of the logits; the preprocessing contract |
| `classify.py`, `vegrt/` | a program that prepares pixels as in training, and the parts of vegrt that it uses |
| `golden/` | photos with the expected answers |
| `requirements.txt` | Python packages for JetPack 6's Python 3.10 |

## Set up once

    sudo apt install python3-venv python3-libnvinfer      # JetPack's Python module of TensorRT
    python3 -m venv --system-site-packages .venv
    .venv/bin/pip install -r requirements.txt
    sudo nvpmodel -m 0 && sudo jetson_clocks              # full speed, for meaningful timings

## Build engines

Run this on the Jetson itself; it takes some minutes. The engines accept batches of {smallest} to {largest} photos and are tuned
for {tuned}.

{build}

With `--stronglyTyped` every layer has the type that the file gives. Do not add `--int8`, `--fp16` or `--best`: they change types.

## Check

    .venv/bin/python classify.py int8.engine --check      # exits with 0 if pixels and answers match the bundle
    .venv/bin/python classify.py fp16.engine --check
    .venv/bin/python classify.py int8.onnx --check        # without an engine, on the CPU (slow)

`*.layers.json` lists the types of each layer: check how many layers with weights are Int8.

## Classify images

    .venv/bin/python classify.py int8.engine photo.jpg another.jpg

## Measure the speed

{time}
"""


def deploy_jetson(bundle: Bundle, out: Path, *, max_batch: int = 32) -> list[str]:
    """Write the folder to `out`, which must be new or empty, atomically; return the names of its files.

    max_batch: largest batch of the engines. Raises BundleError when the bundle has no int8, fp16 or golden photos.
    """
    files = {f"{variant}.onnx": bundle.file("model", variant) for variant in VARIANTS}
    bundle.artifact("golden")
    golden = [artifact.path for artifact in bundle.manifest.artifacts if artifact.role == "golden"]
    files |= {name: bundle.path_of(name) for name in golden}
    package = Path(vegrt.version.__file__).parent
    files |= {f"vegrt/{file}": package / file for file in _imported(package, package / _PROGRAM)}
    files["classify.py"] = package / _PROGRAM
    with creating(out) as folder:
        for name, file in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name)
        manifest = bundle.manifest
        write_json(folder / "model.json", {"classes": list(manifest.classes), "contract": manifest.contract.to_dict()})
        (folder / "classes.txt").write_text("\n".join(manifest.classes) + "\n", encoding="utf-8")
        (folder / "requirements.txt").write_text(REQUIREMENTS, encoding="utf-8")
        (folder / "README.md").write_text(_readme(bundle, max_batch), encoding="utf-8")
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def _imported(package: Path, program: Path) -> list[str]:
    """Return the files of vegrt that a program imports at its start, directly or through other files."""
    names: set[str] = set()
    unread = [program]
    while unread:
        for module in _imports(unread.pop()):
            parts = module.split(".")[1:]
            file = package.joinpath(*parts).with_suffix(".py") if parts else package / "__init__.py"
            name = file.relative_to(package).as_posix()
            if file.is_file() and name not in names:
                packages = ("/".join([*parts[:depth], "__init__.py"]) for depth in range(1, len(parts)))
                names |= {name, "__init__.py", *packages}
                unread.append(file)
    return sorted(names)


def _imports(file: Path) -> list[str]:
    """Return the modules of vegrt that a file imports at its top level; an imported name counts too, as it may be a module."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    imports = [(str(line.module), line.names) for line in body if isinstance(line, ast.ImportFrom)]
    of_vegrt = [(module, names) for module, names in imports if module.split(".")[0] == "vegrt"]
    return [name for module, names in of_vegrt for name in (module, *(f"{module}.{alias.name}" for alias in names))]


def _readme(bundle: Bundle, max_batch: int) -> str:
    profile, size = Profile(1, min(8, max_batch), max_batch), bundle.manifest.contract.size
    return README.format(
        name=bundle.manifest.name,
        version=vegrt.version.__version__,
        sha256=bundle.sha256(),
        classes=len(bundle.manifest.classes),
        smallest=profile.smallest,
        tuned=profile.tuned,
        largest=profile.largest,
        build="\n\n".join(_build_command(variant, profile, size) for variant in VARIANTS),
        time="\n\n".join(_time_command(variant, size) for variant in VARIANTS),
    )


def _build_command(variant: str, profile: Profile, size: int) -> str:
    """Return the trtexec command that builds an engine, as an indented Markdown code block."""
    batches = {"min": profile.smallest, "opt": profile.tuned, "max": profile.largest}
    words = (
        f"/usr/src/tensorrt/bin/trtexec --onnx={variant}.onnx --saveEngine={variant}.engine --stronglyTyped",
        " ".join(f"--{name}Shapes=images:{batch}x{size}x{size}x3" for name, batch in batches.items()),
        "--memPoolSize=workspace:1024 --skipInference",
        f"--profilingVerbosity=detailed --exportLayerInfo={variant}.layers.json",
    )
    return "    " + " \\\n        ".join(words)


def _time_command(variant: str, size: int) -> str:
    shape = f"--shapes=images:1x{size}x{size}x3"
    return f"    /usr/src/tensorrt/bin/trtexec --loadEngine={variant}.engine {shape} --warmUp=500 --duration=10"

"""Writes a bundle as a folder for a Jetson: ONNX models, classes, a small program, and the commands to run.

Engines are built on the Jetson, by trtexec: an engine only works on one GPU model and one TensorRT version.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import vegrt.version
from vegrt.bundle.bundle import Bundle
from vegrt.export.deploy.jetson_readme import JETPACK6, JETPACK7, JetPack, Subject, jetson_readme
from vegrt.export.deploy.program import PACKAGE, program_files
from vegrt.export.engines.options import Profile
from vegrt.files.atomic import creating, write_json

JETPACKS = {"6": JETPACK6, "7": JETPACK7}
_PROGRAM = "export/deploy/jetson_classify.py"


def deploy_jetson(bundle: Bundle, out: Path, *, max_batch: int = 32, jetpack: JetPack = JETPACK6) -> list[str]:
    """Write the folder to `out`, which must be new or empty, atomically; return the names of its files.

    max_batch: largest batch of the engines. Raises BundleError when the bundle has no int8, no fp16 or fp32, or no golden photos.
    """
    files = {f"{variant}.onnx": bundle.file("model", variant) for variant in _variants(bundle)}
    bundle.artifact("golden")
    golden = [artifact.path for artifact in bundle.manifest.artifacts if artifact.role == "golden"]
    files |= {name: bundle.path_of(name) for name in golden}
    files |= {f"vegrt/{name}": file for name, file in program_files(_PROGRAM).items()}
    files["classify.py"] = PACKAGE / _PROGRAM
    with creating(out) as folder:
        for name, file in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name)
        manifest = bundle.manifest
        write_json(folder / "model.json", {"classes": list(manifest.classes), "contract": manifest.contract.to_dict()})
        (folder / "classes.txt").write_text("\n".join(manifest.classes) + "\n", encoding="utf-8")
        requirements = f"# {jetpack.title}: {jetpack.contents}\n{jetpack.requirements}\n"
        (folder / "requirements.txt").write_text(requirements, encoding="utf-8")
        (folder / "README.md").write_text(_readme(bundle, max_batch, jetpack), encoding="utf-8")
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def _readme(bundle: Bundle, max_batch: int, jetpack: JetPack) -> str:
    manifest = bundle.manifest
    classes = len(manifest.classes)
    subject = Subject(manifest.name, vegrt.version.__version__, bundle.sha256(), classes, manifest.contract.shape)
    return jetson_readme(subject, jetpack, Profile(1, min(8, max_batch), max_batch), _variants(bundle))


def _variants(bundle: Bundle) -> tuple[str, str]:
    """Return the variants for the device: int8, and the one that it is compared with."""
    return "int8", "fp16" if "fp16" in bundle.variants() else "fp32"

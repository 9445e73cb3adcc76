"""Writes a device kit: models, calibration photos, test photos, golden answers and a program, in one folder."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.photos import calibration_photos
from vegrt.calibration.pixels import PhotoSet
from vegrt.dataset.photos import read_split
from vegrt.evaluate.golden import GoldenPhotos, least_cosine, load_golden
from vegrt.evaluate.photo_sets import needs_name
from vegrt.export.deploy.folder import check_replaceable, contents
from vegrt.export.deploy.kit.inputs import FORMS, NORMALIZED_NCHW, PIXELS_NCHW, UINT8_NHWC
from vegrt.export.deploy.kit.models import check_float_model, float_model
from vegrt.export.deploy.kit.photos import (
    TestAs,
    TestPhotos,
    choose_test_photos,
    write_calibration,
    write_listing,
    write_test_photos,
)
from vegrt.export.deploy.kit.readme import KitFacts, kit_readme
from vegrt.export.deploy.program import PACKAGE, program_files
from vegrt.files.atomic import creating, write_json
from vegrt.photo.contract import Contract

CALIBRATION_PHOTOS, TEST_PHOTOS = 100, 1000
KIT_FILE = "kit.json"
LISTING = "judge.csv"
_PROGRAM = "export/deploy/kit/classify.py"
_RUNTIMES = ("onnxruntime", "openvino", "mnn", "example")
_FLOAT_MODELS = {"fp32-pixels.onnx": PIXELS_NCHW, "fp32-normalized.onnx": NORMALIZED_NCHW}
_INT8 = ("int8", "int8-cpu")


@dataclass(frozen=True, slots=True)
class KitSettings:
    """What a kit contains. calibration_photos, test_photos: their largest numbers. test_as: how test photos are stored.

    overwrite: replace a kit that is there.
    """

    calibration_photos: int = CALIBRATION_PHOTOS
    test_photos: int = TEST_PHOTOS
    test_as: TestAs = "files"
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Kit:
    """A kit that was written. files: names, sorted. size_bytes: of all files. evaluate: the command that judges its answers."""

    folder: Path
    files: tuple[str, ...]
    size_bytes: int
    calibration_photos: int
    test_photos: int
    evaluate: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self) | {"folder": str(self.folder), "files": list(self.files)}


def deploy_kit(bundle: Bundle, out: Path, data: Path, settings: KitSettings) -> Kit:
    """Write a kit to `out`, atomically.

    data: data folder or CSV file with validation and test photos. Raises BundleError without fp32 or golden photos, DataError for
    photos that cannot be used, ModelError for a graph whose input cannot be replaced, and VegrtError for an `out` that may not be
    replaced.
    """
    check_replaceable(out, KIT_FILE, "a device kit", overwrite=settings.overwrite)
    contract, classes = bundle.manifest.contract, bundle.manifest.classes
    bundle.artifact("golden")
    bundle.file("model", "fp32")
    split = read_split(data, "test", classes)
    chosen = choose_test_photos(split, settings.test_photos)
    used = calibration_photos(data, classes, contract).used.first(settings.calibration_photos)
    with creating(out, overwrite=settings.overwrite) as folder:
        models = _write_models(bundle, folder / "models", load_golden(bundle))
        _write_golden(bundle, folder)
        _write_program(folder)
        write_calibration(folder / "calibration", used)
        chosen = write_test_photos(
            folder / "test", chosen, contract, settings.test_as
        )  # arrays leave out unreadable photos
        name = "" if chosen.is_all and not needs_name(bundle, split) else " --name kit"
        if not chosen.is_all:
            write_listing(folder, LISTING, chosen, out)
        write_json(folder / KIT_FILE, _kit_json(bundle, models))
        facts = _facts(bundle, models, used, chosen, settings.test_as, name)
        (folder / "README.md").write_text(kit_readme(facts), encoding="utf-8")
    files, size_bytes = contents(out)
    return Kit(
        folder=out,
        files=files,
        size_bytes=size_bytes,
        calibration_photos=len(used),
        test_photos=len(chosen.photos),
        evaluate=evaluate_command(str(bundle.path), str(data if chosen.is_all else out / LISTING) + name),
    )


def evaluate_command(bundle: str, data: str) -> str:
    """Return the command that judges the answers of a device. data: the value of --data, and further options."""
    return f"vegrt evaluate {bundle} --data {data} --answers answers.csv --device-name NAME"


def _write_models(bundle: Bundle, folder: Path, golden: GoldenPhotos) -> dict[str, str]:
    """Write the models and return the form of input of each, by name."""
    folder.mkdir()
    contract, source = bundle.manifest.contract, bundle.file("model", "fp32")
    files = {"fp32.onnx": source}
    files |= {f"{variant}.onnx": bundle.file("model", variant) for variant in _INT8 if variant in bundle.variants()}
    files |= {"fp32.mnn": bundle.file("mnn", "fp32")} if bundle.has("mnn") else {}
    for name, file in files.items():
        shutil.copyfile(file, folder / name)
    for name, form in _FLOAT_MODELS.items():
        model = float_model(source.read_bytes(), form, contract)
        check_float_model(name, model, form, contract, golden)
        (folder / name).write_bytes(model)
    return dict.fromkeys(files, UINT8_NHWC) | _FLOAT_MODELS


def _write_golden(bundle: Bundle, folder: Path) -> None:
    """Copy the golden photos, and write their pixels and logits as arrays too, for programs that read neither JPEG nor JSON."""
    for artifact in bundle.manifest.artifacts:
        if artifact.role == "golden":
            (folder / artifact.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path_of(artifact.path), folder / artifact.path)
    golden = load_golden(bundle)
    np.save(folder / "golden/images-uint8-nhwc.npy", golden.images)
    np.save(folder / "golden/logits.npy", golden.logits)


def _write_program(folder: Path) -> None:
    runtimes = {f"runtimes/{name}.py": PACKAGE / f"export/deploy/kit/runtimes/{name}.py" for name in _RUNTIMES}
    files = {"classify.py": PACKAGE / _PROGRAM} | runtimes
    files |= {f"vegrt/{name}": file for name, file in program_files(_PROGRAM).items()}
    for name, file in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / name)


def _kit_json(bundle: Bundle, models: dict[str, str]) -> dict[str, Any]:
    return {
        "name": bundle.manifest.name,
        "bundle_sha256": bundle.sha256(),
        "classes": list(bundle.manifest.classes),
        "contract": resolved(bundle.manifest.contract),
        "models": {
            f"models/{name}": {
                "input": form,
                "description": FORMS[form],
                "min_cosine": least_cosine(bundle, Path(name).stem if Path(name).stem in _INT8 else "fp32"),
            }
            for name, form in models.items()
        },
    }


def resolved(contract: Contract) -> dict[str, Any]:
    """Return all attributes of a contract that preparing a photo reads, so that a device needs no code to derive them."""
    derived = ("height", "width", "shape", "channels", "resize_box")
    return asdict(contract) | {name: getattr(contract, name) for name in derived}


def _facts(
    bundle: Bundle, models: dict[str, str], used: PhotoSet, chosen: TestPhotos, test_as: TestAs, name: str
) -> KitFacts:
    return KitFacts(
        name=bundle.manifest.name,
        sha256=bundle.sha256(),
        classes=len(bundle.manifest.classes),
        contract=bundle.manifest.contract,
        models=tuple(models),
        calibration_photos=len(used),
        test_photos=len(chosen.photos),
        test_as=test_as,
        evaluate=evaluate_command("BUNDLE", ("DATA" if chosen.is_all else LISTING) + name),
    )

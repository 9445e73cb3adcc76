"""A small bundle with every kind of result, and the other files that vegrt reads: where fuzzing begins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("Beet", "Cress", "Eggplant")
PHOTOS = {"train": 2, "validation": 20, "test": 30}
SIDE = 32


def import_options(folder: Path) -> list[str]:
    """Return the options of `vegrt export` that import the network of a base."""
    files = {"--from-onnx": "model.onnx", "--data": "data", "--classes": "classes.txt", "--contract": "contract.toml"}
    return [word for option, name in files.items() for word in (option, str(folder / name))] + ["--no-engine"]


def make_base(base: Path, run: Callable[[list[str]], tuple[str, str]]) -> None:
    """Write photos, a small network, its bundle with every kind of result, and the other files that are mutated.

    run: runs a command line and returns its exit code and its output.
    """
    shutil.rmtree(base, ignore_errors=True)
    draw_photos(base / "data")
    write_network(base / "model.onnx")
    (base / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    (base / "contract.toml").write_text(
        f"size = {SIDE}\nresize = {SIDE}\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n"
    )
    (base / "recipe.toml").write_text(
        'backbone = "resnet18"\nweights = "none"\nsize = 32\nepochs = 1\nlr = 0.001\nseed = 3\nema = 0.9\n'
    )
    rows = [path.relative_to(base / "data") for path in sorted((base / "data").rglob("*.png"))]
    lines = [f"{path.as_posix()},{path.parts[1]},{path.parts[0]}" for path in rows]
    (base / "data/photos.csv").write_text("\n".join(["path,class,split", *lines]) + "\n")
    bundle, data = base / "bundle", str(base / "data")
    write_keys(base)
    commands = (
        ["data", "audit", data, "-o", str(base / "audit")],
        ["export", str(bundle), *import_options(base)],
        ["evaluate", str(bundle), "--data", data],
        ["evaluate", str(bundle), "--data", data],
        ["robustness", str(bundle), "--data", data, "--images", "6"],
        ["calibrate", str(bundle), "--data", data, "--no-engine", "--sensitivity", "--curve"],
        ["evaluate", str(bundle), "--data", data],
        ["evaluate", str(bundle), "--data", data],
        ["robustness", str(bundle), "--data", data, "--images", "6"],
        ["bench", str(bundle), "--budget-s", "1", "--rounds", "6", "--no-memory"],
        ["trust", str(bundle), "--data", data, "--variant", "fp32"],
        [
            "infer",
            "--bundle",
            str(bundle),
            data,
            "--variant",
            "fp32",
            "--reject",
            "--counters",
            str(base / "counters.json"),
            "--json",
        ],
        ["bundle", "sign", str(bundle), "--key", str(base / "key.pem")],
    )
    for words in commands:
        child = os.fork()
        if child == 0:
            code, output = run(words)
            (base / "output").write_text(output)
            os._exit(code not in ("0", "3", "4"))
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise SystemExit(f"cannot make the base: vegrt {' '.join(words)}\n{(base / 'output').read_text()}")
    shutil.copytree(bundle, base / "other")
    (base / "done").touch()


def write_keys(folder: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, pem = Ed25519PrivateKey.generate(), serialization.Encoding.PEM
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *private))
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / "key.pub").write_bytes(key.public_key().public_bytes(pem, public))


def draw_photos(root: Path) -> None:
    """Draw ramps of brightness with more of one colour for each class."""
    generator = np.random.default_rng(5)
    for split, count in PHOTOS.items():
        for channel, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                rows, columns = np.mgrid[:SIDE, : SIDE + 4]
                ramp = generator.uniform(-2, 2) * rows + generator.uniform(-2, 2) * columns
                pixels = np.clip(90 + ramp[..., None] + generator.normal(0, 6, (SIDE, SIDE + 4, 3)), 0, 170)
                pixels[..., channel] += 60
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{number:03d}.png")


def write_network(file: Path) -> None:
    """Write an ONNX classifier of the brightest colour: a 3x3 convolution, the mean, a matrix."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((6, 3, 3, 3), np.float32)
    weights[range(3), range(3)], weights[range(3, 6), range(3)] = 1 / 9, -1 / 9
    matrix = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32) * 4
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    pixels = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
    logits = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(matrix, "m")]
    graph = helper.make_graph(nodes, "small", [pixels], [logits], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)

"""Checks an installed vegrt without the extras of training: bundle, infer, verify, lock, pack, sign and serve, in 20 seconds.

    pip install 'vegrt[cpu,pack,sign,serve]'; python tests/slow/base_install.py

The network is written as bytes, because the packages that train and export are not needed. The workflow runs it on each system
and Python version, and with the lowest versions of all packages.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from PIL import Image

from vegrt import load
from vegrt.bundle.change import changing
from vegrt.bundle.manifest import Manifest
from vegrt.evaluate.benchmark.networks import CLASSES, small_network
from vegrt.infer.serve.app import Service
from vegrt.infer.serve.server import listen, make_server, url_of
from vegrt.infer.serve.settings import ServerSettings
from vegrt.photo.contract import Contract

PHOTOS = 6


def main() -> None:
    """Run all checks in a temporary folder; raise an exception at the first that fails."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        make_photos(folder / "photos")
        make_bundle(folder / "model")
        make_key(folder)
        rows = infer(folder, "--bundle", folder / "model", "-o", folder / "rows.jsonl")
        assert len(rows) == PHOTOS, rows
        assert infer(folder, "--bundle", folder / "model", "-o", folder / "rows.jsonl", "--overwrite") == rows
        check_signature(folder, rows)
        check_server(folder)
        assert not list(folder.rglob("*.lock")), "a lock file was left"
        assert not list(folder.rglob(".*.tmp*")), "a temporary file was left"
    sys.stdout.write(f"vegrt works here: Python {sys.version.split()[0]}, {sys.platform}, numpy {np.__version__}\n")


def make_photos(folder: Path) -> None:
    """Write photos in several formats, one with a name that is not ASCII."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(PHOTOS):
        pixels = random.integers(0, 256, (60 + index, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{'채소' if index == 1 else index}.{('jpg', 'png', 'webp')[index % 3]}")


def make_bundle(path: Path) -> None:
    """Write a bundle with one model."""
    network = small_network("convolutions", "fp32")
    with changing(path) as staging:
        staging.file("fp32.onnx").write_bytes(network.model)
        staging.add("fp32.onnx", "model", "fp32")
        contract = Contract(network.size, network.size, (0.5,) * 3, (0.5,) * 3)
        staging.finish(Manifest("model", tuple(f"class {index}" for index in range(CLASSES)), contract, {}))


def make_key(folder: Path) -> None:
    """Write key.pem and key.pub."""
    key = Ed25519PrivateKey.generate()
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pub").write_bytes(public)


def vegrt(*words: object) -> str:
    """Return what a command prints on stdout; stop at one that fails."""
    done = subprocess.run(
        [sys.executable, "-m", "vegrt.cli", *map(str, words)], capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode:
        sys.exit(f"vegrt {' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def infer(folder: Path, *words: object) -> list[str]:
    """Return the rows that `vegrt infer` writes about the photos."""
    vegrt("infer", folder / "photos", "--runtime", "onnxruntime", *words)
    return (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()


def check_signature(folder: Path, rows: list[str]) -> None:
    """Sign, pack and unpack the bundle, and use it with the key."""
    vegrt("bundle", "sign", folder / "model", "--key", folder / "key.pem")
    for suffix in ("zip", "tar.zst"):
        vegrt("bundle", "pack", folder / "model", folder / f"m.{suffix}")
        vegrt("bundle", "unpack", folder / f"m.{suffix}", folder / suffix)
        words = (
            "--bundle",
            folder / suffix,
            "--public-key",
            folder / "key.pub",
            "-o",
            folder / "rows.jsonl",
            "--overwrite",
        )
        assert infer(folder, *words) == rows


def check_server(folder: Path) -> None:
    """Serve in a thread, and ask for one photo."""
    server = make_server(Service(load(folder / "model", runtime="onnxruntime"), ServerSettings()))
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            body = (folder / "photos/0.jpg").read_bytes()
            with urllib.request.urlopen(f"{url_of(listener)}v1/predict", body, timeout=30) as answer:
                assert json.load(answer)["label"].startswith("class ")
        finally:
            server.should_exit = True
            thread.join(30)


if __name__ == "__main__":
    main()

"""The first answer: how long `vegrt infer one.jpg` takes from nothing, what it imports, and what `vegrt[cpu]` weighs.

    python peers/cold.py PHOTO --bundle BUNDLE [--variant int8-cpu] [--runs 7] [--size]

--size makes a virtual environment, installs '.[cpu]' of this checkout into it (from the package index), and adds up its files.
Files are in the page cache; that of the first run, which warms it, is given apart. One JSON line.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "onnx", "openvino", "onnxruntime", "scipy", "pandas", "pyarrow", "ray", "cv2")


def command(python: Path, given: argparse.Namespace, *flags: str) -> list[str]:
    """Return the words that infer one photo."""
    options = ["--bundle", str(given.bundle), *(["--variant", given.variant] if given.variant else [])]
    return [str(python), *flags, "-m", "vegrt.cli", "--quiet", "infer", str(given.photo), *options]


def seconds_of(words: list[str]) -> float:
    """Return how long a command takes. Raises CalledProcessError when it fails."""
    start = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def imports_of(words: list[str]) -> tuple[list[str], dict[str, float]]:
    """Return which heavy packages a command imports, and the ten that cost most, in ms with all that they import."""
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found = re.findall(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)([\w.]+)", done.stderr)
    times = {name: int(total) / 1e3 for _, total, _, name in found}
    slowest = sorted(times, key=lambda name: -times[name])[:10]
    packages = {
        name.partition(".")[0] for name in times
    }  # what importlib imports has no line of its own, only its parts
    return [name for name in HEAVY if name in packages], {name: round(times[name], 1) for name in slowest}


def installed_mb(folder: Path) -> tuple[Path, float, float]:
    """Install into a fresh environment; return its Python, and the MB (10^6 bytes) of it all and without pip."""
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{ROOT}[cpu]"], check=True)
    sizes = {path: path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    pip = sum(
        size for path, size in sizes.items() if re.search(r"site-packages/(pip|setuptools|_distutils)", str(path))
    )
    return python, sum(sizes.values()) / 1e6, (sum(sizes.values()) - pip) / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--variant", default="", help="default: what vegrt chooses")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--size", action="store_true")
    given = parser.parse_args()
    line: dict[str, object] = {"name": f"vegrt infer {given.photo.name}, {given.variant or 'as chosen'}"}
    with tempfile.TemporaryDirectory() as folder:
        python = Path(sys.executable)
        if given.size:
            python, everything, without_pip = installed_mb(Path(folder, "venv"))
            line |= {"installed_mb": round(everything, 1), "installed_mb_without_pip": round(without_pip, 1)}
        times = [seconds_of(command(python, given)) for _ in range(given.runs + 1)]
        heavy, slowest = imports_of(command(python, given, "-X", "importtime"))
    line |= {
        "first_s": round(times[0], 3),
        "runs": given.runs,
        "median_s": round(statistics.median(times[1:]), 3),
        "lowest_s": round(min(times[1:]), 3),
        "imported": heavy,
        "torch_imported": "torch" in heavy,
        "slowest_imports_ms": slowest,
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

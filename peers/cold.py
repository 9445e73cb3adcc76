"""Cold start of `vegrt infer one.jpg`: its duration and imports, and the installed size of `vegrt[cpu]`.

    python peers/cold.py PHOTO --bundle BUNDLE [--variant int8-cpu] [--runs 7] [--size]

--size installs '.[cpu]' of this checkout into a new virtual environment (from the package index), and sums its file sizes.
The first run, which warms the page cache, is reported separately. Prints one JSON line.
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


def command(python: Path, arguments: argparse.Namespace, *flags: str) -> list[str]:
    """Return the command that classifies the photo."""
    options = ["--bundle", str(arguments.bundle), *(["--variant", arguments.variant] if arguments.variant else [])]
    return [str(python), *flags, "-m", "vegrt.cli", "--quiet", "infer", str(arguments.photo), *options]


def seconds_of(command_line: list[str]) -> float:
    """Return the duration of a command. Raises CalledProcessError if it fails."""
    start = time.perf_counter()
    subprocess.run(command_line, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def imports_of(command_line: list[str]) -> tuple[list[str], dict[str, float]]:
    """Return the heavy packages that a command imports, and its ten slowest imports: name -> ms, with nested imports."""
    process = subprocess.run(command_line, check=True, capture_output=True, text=True)
    entries = re.findall(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)([\w.]+)", process.stderr)
    times = {name: int(total) / 1e3 for _, total, _, name in entries}
    slowest = sorted(times, key=lambda name: -times[name])[:10]
    # packages imported by importlib have no line of their own, only their submodules do
    packages = {name.partition(".")[0] for name in times}
    return [name for name in HEAVY if name in packages], {name: round(times[name], 1) for name in slowest}


def installed_mb(folder: Path) -> tuple[Path, float, float]:
    """Install into a new environment; return its Python, and its size in MB (10^6 bytes), with and without pip."""
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
    parser.add_argument("--variant", default="", help="Variant; default: the choice of vegrt infer.")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--size", action="store_true")
    arguments = parser.parse_args()
    line: dict[str, object] = {"name": f"vegrt infer {arguments.photo.name}, {arguments.variant or 'default variant'}"}
    with tempfile.TemporaryDirectory() as folder:
        python = Path(sys.executable)
        if arguments.size:
            python, everything, without_pip = installed_mb(Path(folder, "venv"))
            line |= {"installed_mb": round(everything, 1), "installed_mb_without_pip": round(without_pip, 1)}
        times = [seconds_of(command(python, arguments)) for _ in range(arguments.runs + 1)]
        heavy, slowest = imports_of(command(python, arguments, "-X", "importtime"))
    line |= {
        "first_s": round(times[0], 3),
        "runs": arguments.runs,
        "median_s": round(statistics.median(times[1:]), 3),
        "lowest_s": round(min(times[1:]), 3),
        "imported": heavy,
        "torch_imported": "torch" in heavy,
        "slowest_imports_ms": slowest,
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

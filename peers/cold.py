"""Cold start of `vegrt infer one.jpg` and `vegrt --help`: durations and imports, by installed extras, and installed sizes.

    python peers/cold.py PHOTO --bundle BUNDLE [--variant int8-cpu] [--runs 7] [--extras cpu --extras cpu,openvino]

Each --extras installs this checkout with them into a new virtual environment (from the package index), and sums its file sizes;
without one, the Python that runs this is measured. The runs of all environments are interleaved; the first run of each, which
warms the page cache and OpenVINO's cache, is reported separately. The user's cache is a new folder. Prints a JSON line for each.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "onnx", "openvino", "onnxruntime", "scipy", "pandas", "pyarrow", "ray", "cv2")


@dataclass
class Environment:
    """A Python with vegrt. seconds: durations by command, the first run of each included."""

    name: str
    python: Path
    sizes_mb: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"infer": [], "help": []})

    def command(self, words: list[str], *flags: str) -> list[str]:
        """Return the command line of vegrt with these words. flags: of Python."""
        return [str(self.python), *flags, "-m", "vegrt.cli", *words]


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


def installed(extras: str, folder: Path) -> Environment:
    """Return a new environment with these extras, and its size in MB (10^6 bytes), with and without pip."""
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{ROOT}[{extras}]"], check=True)
    sizes = {path: path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    pip = sum(
        size for path, size in sizes.items() if re.search(r"site-packages/(pip|setuptools|_distutils)", str(path))
    )
    everything = sum(sizes.values())
    sizes_mb = {"installed_mb": everything / 1e6, "installed_mb_without_pip": (everything - pip) / 1e6}
    return Environment(extras, python, {name: round(size, 1) for name, size in sizes_mb.items()})


def summary(environment: Environment, words: list[str]) -> dict[str, object]:
    """Return the figures of an environment. words: of the command whose imports are listed."""
    heavy, slowest = imports_of(environment.command(words, "-X", "importtime"))
    line: dict[str, object] = {"extras": environment.name, **environment.sizes_mb}
    for name, (first_s, *others_s) in environment.seconds.items():
        line[name] = {
            "first_s": round(first_s, 3),
            "runs": len(others_s),
            "median_s": round(statistics.median(others_s), 3),
            "lowest_s": round(min(others_s), 3),
        }
    return line | {"imported": heavy, "torch_imported": "torch" in heavy, "slowest_imports_ms": slowest}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--variant", default="", help="Variant; default: the choice of vegrt infer.")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--extras", action="append", default=[], help="Extras to install and measure; repeatable.")
    arguments = parser.parse_args()
    variant = ["--variant", arguments.variant] if arguments.variant else []
    infer = ["--quiet", "infer", str(arguments.photo), "--bundle", str(arguments.bundle), *variant]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        environments = [
            installed(extras, Path(folder, f"venv-{number}")) for number, extras in enumerate(arguments.extras)
        ] or [Environment("this Python", Path(sys.executable))]
        for _ in range(arguments.runs + 1):
            for environment in environments:
                environment.seconds["infer"].append(seconds_of(environment.command(infer)))
                environment.seconds["help"].append(seconds_of(environment.command(["--help"])))
        for environment in environments:
            line = {
                "photo": arguments.photo.name,
                "variant": arguments.variant or "default",
                **summary(environment, infer),
            }
            sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

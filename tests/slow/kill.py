"""SIGKILL at random moments of a training on the photos of ../shared, resumed each time: `make accept`.

Prints after which epoch each blow fell, and whether the weights equal those of the uninterrupted run, bit for bit.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from vegrt.train.loop.checkpoint import Checkpoints

BLOWS = 5


def command(data: Path, out: Path, *more: str) -> list[str]:
    recipe = [
        "--runs",
        str(out.parent / "runs.db"),
        *["--weights", "none", "--size", "32", "--epochs", "6", "--ema", "0.9"],
    ]
    return [sys.executable, "-m", "vegrt.cli", "-q", "train", "--data", str(data), "--out", str(out), *recipe, *more]


def main(data: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder, "whole"), Path(folder, "killed")
        start = time.monotonic()
        subprocess.run(command(data, whole), check=True)
        seconds = time.monotonic() - start
        for blow in range(BLOWS):
            process = subprocess.Popen(command(data, killed, "--resume"))
            time.sleep(random.uniform(0.1, 0.3) * seconds)
            process.kill()
            process.wait()
            progress = Checkpoints(killed).load_progress()
            done = "before it began" if progress is None else f"after epoch {len(progress.epochs)}"
            sys.stdout.write(f"blow {blow + 1}: {done}\n")
            if progress is None and (killed / "manifest.json").exists():
                break
        if not (killed / "manifest.json").exists():
            subprocess.run(command(data, killed, "--resume"), check=True)
        first, second = (load_file(path / "weights.safetensors") for path in (whole, killed))
        equal = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
        sys.stdout.write(f"weights equal: {equal}\n")
        raise SystemExit(not equal)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

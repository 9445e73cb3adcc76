"""The command line on a bundle, one of whose files is damaged: a line or an answer, never a traceback.

Every JSON, TOML, CSV and text file that vegrt reads, with every command that reads it. The files of the bundle get their right
hash in the manifest, so that the damage gets behind that check.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import random
import shutil
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.slow.fuzz.base import import_options
from tests.slow.fuzz.target import Target, as_json, as_lines
from vegrt.errors import VegrtError

# file -> command -> weight
PLAN: dict[str, dict[str, int]] = {
    "manifest.json": {
        "infer": 6,
        "verify": 4,
        "report": 3,
        "markdown": 3,
        "pack": 3,
        "triton": 2,
        "jetson": 2,
        "evaluate": 1,
        "bench": 1,
    },
    "results/evaluate-test.json": {"infer": 4, "report": 6, "markdown": 4, "verify": 1},
    "results/bench.json": {"infer": 3, "report": 4, "markdown": 3, "compare": 4},
    "results/robustness-test.json": {"report": 2, "markdown": 1},
    "results/sensitivity.json": {"report": 1},
    "results/curve.json": {"report": 1},
    "golden/golden.json": {"verify": 3, "bench": 1, "jetson": 1},
    "calibration.json": {"report": 1, "calibrate": 1},
    "float-layers.json": {"float-layers": 1},
    "signature.json": {"signature": 2, "pack": 1},
    "../audit/audit.json": {"audit-report": 2, "evaluate-audit": 1},
    "../recipe.toml": {"train": 3},
    "../contract.toml": {"import": 3},
    "../classes.txt": {"import": 2},
    "../data/photos.csv": {"data-audit": 2, "data-split": 1},
}


class Commands:
    """Inputs are `FILE COMMAND` in a line, then the content of the file."""

    def __init__(self) -> None:
        self.base = Path()

    def seeds(self, base: Path) -> list[bytes]:
        """Return each file once for each part of the weight of each command."""
        self.base = base
        warm_up()
        return [
            f"{file} {name}\n".encode() + (base / "bundle" / file).read_bytes()
            for file, named in PLAN.items()
            for name, weight in named.items()
            for _ in range(weight)
        ]

    def mutate(self, data: bytes, corpus: Sequence[bytes], draws: random.Random) -> bytes:
        """Damage the file."""
        line, _, content = data.partition(b"\n")
        return line + b"\n" + (as_json if b".json " in line else as_lines)(content, [content], draws)

    def run(self, data: bytes, folder: Path) -> str:
        """Run the command on a copy of the base. Raises VegrtError where it ends with 1."""
        line, _, content = data.partition(b"\n")
        file, name = line.decode().split()
        work = folder / "job"
        shutil.copytree(self.base, work, copy_function=os.link)  # whoever writes replaces the file
        rewrite(work / "bundle" / file, content)
        if file not in ("manifest.json", "signature.json") and not file.startswith(("results/", "../")):
            restate_hashes(work / "bundle")
        os.chdir(work)
        code, output = in_process(arguments(work, name))
        assert code in ("0", "1", "3", "4"), f"{name}: exit code {code}: {output}"
        if code == "1":
            raise VegrtError(output.splitlines()[-1])
        return f"{line.decode()} {code}"


def in_process(words: list[str]) -> tuple[str, str]:
    """Run the command line here; return its exit code, or `traceback`, and the end of its output."""
    from vegrt.cli import application

    for handler in list(logging.getLogger().handlers):
        logging.getLogger().removeHandler(handler)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1), os.dup2(silent, 2)
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # strict, as a pipe is
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            application((words[0],))(words)
    except SystemExit as error:
        output.flush()
        return str(error.code or 0), output.buffer.getvalue().decode()[-500:]
    except BaseException:
        return "traceback", traceback.format_exc()[-1500:]
    return "0", ""


def arguments(work: Path, name: str) -> list[str]:
    bundle, data = str(work / "bundle"), str(work / "data")
    photo, out = str(work / "data/test/Beet/000.png"), str(work / "out")
    commands = {
        "infer": ["infer", "--bundle", bundle, photo, "--json"],
        "verify": ["verify", bundle],
        "signature": ["verify", bundle, "--public-key", str(work / "key.pub")],
        "report": ["report", bundle, "-o", f"{out}/r.html"],
        "markdown": ["report", bundle, "-o", f"{out}/r.md", "--card", f"{out}/card.md", "--svg", out],
        "audit-report": ["report", bundle, "-o", f"{out}/r.md", "--audit", str(work / "audit/audit.json")],
        "pack": ["bundle", "pack", bundle, f"{out}.zip"],
        "triton": ["deploy", "triton", bundle, out],
        "jetson": ["deploy", "jetson", bundle, out],
        "compare": ["compare", bundle, str(work / "other")],
        "evaluate": ["evaluate", bundle, "--data", data],
        "evaluate-audit": ["evaluate", bundle, "--data", data, "--audit", str(work / "audit/audit.json")],
        "bench": ["bench", bundle, "--budget-s", "0.1", "--rounds", "2", "--no-memory"],
        "calibrate": ["calibrate", bundle, "--data", data, "--no-engine"],
        "float-layers": [
            "calibrate",
            bundle,
            "--data",
            data,
            "--no-engine",
            "--float-layers",
            f"{bundle}/float-layers.json",
        ],
        "train": ["train", "--data", str(work / "none"), "--out", out, "--recipe", str(work / "recipe.toml")],
        "import": ["export", out, *import_options(work)],
        "data-audit": ["data", "audit", f"{data}/photos.csv", "-o", out],
        "data-split": ["data", "split", f"{data}/photos.csv", "-o", f"{data}/split.csv"],
    }
    return commands[name]


def restate_hashes(bundle: Path) -> None:
    """Make the manifest's hashes those of the files, so that a mutation gets behind that check."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    for artifact in manifest["artifacts"]:
        content = (bundle / artifact["path"]).read_bytes()
        artifact |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    rewrite(bundle / "manifest.json", json.dumps(manifest).encode())


def rewrite(file: Path, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)


def warm_up() -> None:
    """Import what the forks need, once."""
    import onnx
    import onnxruntime

    import vegrt.evaluate.benchmark.bench
    import vegrt.evaluate.evaluate
    import vegrt.evaluate.verify
    import vegrt.export.stage
    import vegrt.infer.predict
    import vegrt.report.figures
    import vegrt.report.write
    import vegrt.train.data.audit

    logging.getLogger(__name__).debug("%s", (onnx, onnxruntime, vegrt))


COMMANDS = Commands()
# each in a process of its own, because a command changes it
TARGETS = (Target("commands", COMMANDS.seeds, COMMANDS.run, COMMANDS.mutate, 0.1, 60.0, 3072, per_worker=1),)

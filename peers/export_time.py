"""Time of `vegrt export` by stage, and beside another version of vegrt.

    python peers/export_time.py BUNDLE DATA [--rounds 3] [--against CHECKOUT] [-- OPTIONS OF EXPORT]

BUNDLE: trained or imported; what an earlier export added is left out of the copies that are exported. CHECKOUT: another checkout
of vegrt. Each export is a process of its own and exports a new copy, without engines; the two versions take turns, and which is
first alternates. Prints a JSON line for each export, then a Markdown table: medians with the lowest and highest value, and the
geometric mean of the ratios within rounds, this version to the other, with its 95 % interval (Student's t of the logarithms).
CPU seconds are those of all threads; they suffer less from other work on the machine. `same` says whether both versions wrote
the same models, ranges and range methods.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

THIS = Path(__file__).parents[1]
START_ROLES = ("weights", "source")
COMPARED = ("fp32.onnx", "fp16.onnx", "int8.onnx", "int8-cpu.onnx")


def copy_start(bundle: Path, target: Path) -> None:
    """Copy what an export starts from: the manifest without later entries, and the weights or the imported model."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["artifacts"] = [entry for entry in manifest["artifacts"] if entry["role"] in START_ROLES]
    for entry in manifest["artifacts"]:
        (target / entry["path"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / entry["path"], target / entry["path"])
    (target / "manifest.json").write_text(json.dumps(manifest | {"calibration": {}}))


def timed_export(checkout: Path, bundle: Path, data: Path, options: Sequence[str]) -> dict[str, Any]:
    """Export a copy of a bundle with the vegrt of a checkout. Exits if it fails. Returns seconds, memory and what was written."""
    with tempfile.TemporaryDirectory(prefix="vegrt-export-time-") as folder:
        copy = Path(folder, "bundle")
        copy_start(bundle, copy)
        words = ["export", str(copy), "--data", str(data), "--no-engine", "--json", *options]
        command = [sys.executable, "-m", "vegrt.cli", "--quiet", *words]
        environment = os.environ | {"PYTHONPATH": str(checkout.absolute() / "src")}
        with Path(folder, "stdout").open("w+") as stdout:
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=stdout, env=environment, cwd=folder)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            if code := os.waitstatus_to_exitcode(status):
                raise SystemExit(f"{' '.join(command)}: exit {code}")
            stdout.seek(0)
            answer = json.load(stdout)
        return {
            "seconds": round(seconds, 1),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
            "peak_rss_mib": usage.ru_maxrss // 1024,
            "methods": answer["calibration"]["method"],
            "photos_judged": judged(answer["calibration"]),
            "stages": {name: round(value, 1) for name, value in answer.get("seconds", {}).items()},
            "written": written(copy),
        }


def judged(calibration: dict[str, Any]) -> int:
    """Return how many answers of 8-bit models the tournament took."""
    rows = calibration["tournament"]
    return sum((row.get("stopped") or {"images": calibration["judged_images"]})["images"] for row in rows)


def written(bundle: Path) -> dict[str, str]:
    """Return the hashes of the models and of all tensors' ranges."""
    ranges = json.loads((bundle / "calibration.json").read_text())["tensors"]
    contents = {name: (bundle / name).read_bytes() for name in COMPARED}
    contents["ranges"] = json.dumps(ranges, sort_keys=True).encode()
    return {name: hashlib.sha256(content).hexdigest()[:12] for name, content in contents.items()}


def ratio_with_interval(ours: Sequence[float], others: Sequence[float]) -> str:
    """Return the geometric mean of ours / others and its 95 % interval, in words; no interval for one round."""
    logarithms = [math.log(mine / other) for mine, other in zip(ours, others, strict=True)]
    centre = statistics.mean(logarithms)
    if len(logarithms) < 2:
        return f"{math.exp(centre):.2f}"
    from scipy.stats import t

    half = t.ppf(0.975, len(logarithms) - 1) * statistics.stdev(logarithms) / math.sqrt(len(logarithms))
    return f"{math.exp(centre):.2f} ({math.exp(centre - half):.2f} to {math.exp(centre + half):.2f})"


def table(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Return the Markdown table of the stages' and the whole export's seconds. runs: of each version, one a round."""
    heads = [*runs, *(["ratio"] if len(runs) == 2 else [])]
    lines = ["| |" + "".join(f" {head} |" for head in heads), "|---|" + "---:|" * len(heads)]
    stages = dict.fromkeys(
        stage for lists in runs.values() for run in lists for stage in run["stages"] if stage != "total"
    )
    for name in [*stages, "seconds", "cpu_seconds", "peak_rss_mib"]:
        values = {version: [value_of(run, name) for run in lists] for version, lists in runs.items()}
        cells = [spread([value for value in column if value is not None]) for column in values.values()]
        if len(runs) == 2:
            ours, others = values.values()
            is_whole = name not in stages
            cells.append(ratio_with_interval(ours, others) if is_whole else "")
        lines.append(f"| {name} |" + "".join(f" {cell} |" for cell in cells))
    return "\n".join(lines)


def value_of(run: dict[str, Any], name: str) -> Any:
    """Return a figure of the whole export, or the seconds of a stage; None for a version that does not print them."""
    return run[name] if name in run else run["stages"].get(name)


def spread(values: Sequence[float]) -> str:
    """Return the median, and the lowest and the highest value."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})" if values else ""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path)
    parser.add_argument("options", nargs="*", help="options of vegrt export, after --")
    chosen = parser.parse_args()
    versions = {"this": THIS} | ({"other": chosen.against} if chosen.against else {})
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in versions}
    for number in range(chosen.rounds):
        for name in [*versions][:: -1 if number % 2 else 1]:
            options = chosen.options if name == "this" else [word for word in chosen.options if word != "--no-racing"]
            run = timed_export(versions[name], chosen.bundle.absolute(), chosen.data.absolute(), options)
            runs[name].append(run)
            sys.stdout.write(json.dumps({"version": name, "round": number} | run) + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"\n{table(runs)}\n")
    if chosen.against:
        results = [(run["written"], run["methods"]) for lists in runs.values() for run in lists]
        sys.stdout.write(f"\nsame: {all(result == results[0] for result in results)}\n")


if __name__ == "__main__":
    main()

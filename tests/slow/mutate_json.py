"""Mutations of every JSON, TOML, CSV and text file that vegrt reads, through its commands: how many end in a traceback.

    python tests/slow/mutate_json.py WORK [--count 2500] [--seed 1] [--only REGEX] [--limit-s 60]

WORK: a folder, new or of an earlier run, for a small bundle with all results, which is made first. Each mutation runs in a fork.
Prints every traceback, death and time-out, and the counts by file and command; exit 1 when there is any.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import io
import json
import logging
import os
import random
import re
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("Beet", "Cress", "Eggplant")
PHOTOS = {"train": 2, "validation": 20, "test": 30}
SIDE = 32
NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, 2**64, 10**400, 1e308, -1e308, 1e-320, 0.5, -0.5),
    *(float("nan"), float("inf"), float("-inf")),
    *(
        "",
        " ",
        "a",
        "1",
        "NaN",
        "é",
        "\x00",
        "\x1b[31m",
        "a\nb",
        "\ud800",
        "\u202e",
        "../../etc/passwd",
        "/etc/passwd",
        "a" * 5000,
    ),
    *([], {}, [[]], [None], [{}], {"a": 1}, {"": {}}, [1, 2, 3], ["a", "a"], [0.5] * 3),
)
DEEP = "@deep@"
TEXTS = (
    "nan",
    "inf",
    "-1",
    "1e999",
    "9" * 5000,
    '"\\u0000"',
    "true",
    "[]",
    "{}",
    "[[",
    "'",
    '"',
    ",",
    "=",
    "\x00",
    "\x1b",
    "\udcff",
)

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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--limit-s", type=int, default=60)
    given = parser.parse_args()
    base = given.work.resolve() / "base"
    if not (base / "done").is_file():
        make_base(base)
    plan = [(file, name, weight) for file, named in PLAN.items() for name, weight in named.items()]
    plan = [one for one in plan if re.search(given.only, f"{one[0]}:{one[1]}")]
    draws = random.Random(given.seed)
    counts, failed = Counter[tuple[str, str, str]](), 0
    warm_up()
    for number in range(given.count):
        (file, name, _), seed = draws.choices(plan, [one[2] for one in plan])[0], draws.randrange(1 << 30)
        outcome, said = run_job(base, given.work.resolve() / "job", file, name, seed, given.limit_s)
        counts[file, name, outcome] += 1
        if number % 100 == 99:
            sys.stderr.write(f"{number + 1} of {given.count}, {failed} failed\n")
        if outcome not in ("0", "1", "3", "4"):
            failed += 1
            sys.stdout.write(f"{number} {file} {name} seed {seed}: {outcome} {said}\n")
            sys.stdout.flush()
    for (file, name, outcome), count in sorted(counts.items()):
        sys.stdout.write(f"{count:6} {file} {name} {outcome}\n")
    sys.stdout.write(f"{failed} of {given.count} mutations did not end in one line or in success\n")
    raise SystemExit(failed > 0)


def run_job(base: Path, work: Path, file: str, name: str, seed: int, limit_s: int) -> tuple[str, str]:
    """Mutate `file` in a copy of the base and run a command on it in a fork; return what happened, and words."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work, copy_function=os.link)  # whoever writes replaces the file
    target, draws = work / "bundle" / file, random.Random(seed)
    rewrite(target, mutated(target.read_bytes(), draws, is_json=file.endswith(".json")))
    if file not in ("manifest.json", "signature.json") and not file.startswith(("results/", "../")):
        restate_hashes(work / "bundle")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(limit_s)
        os.chdir(work)
        os.write(writing, json.dumps(in_process(arguments(work, name)))[-4000:].encode("utf-8", "replace"))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return ("time-out" if number == signal.SIGALRM else f"signal {number}"), ""
    try:
        code, said = json.loads(told)
    except ValueError:
        code, said = "traceback", told.decode("utf-8", "replace")
    return str(code), str(said)


def in_process(words: list[str]) -> tuple[str, str]:
    """Run the command line here; return its exit code, or `traceback`, and the end of what it said."""
    from vegrt.cli import application

    for handler in list(logging.getLogger().handlers):
        logging.getLogger().removeHandler(handler)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1), os.dup2(silent, 2)
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # strict, as a pipe is
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            application((words[0],))(words)
    except SystemExit as error:
        said.flush()
        return str(error.code or 0), said.buffer.getvalue().decode()[-500:]
    except BaseException:
        return "traceback", traceback.format_exc()[-1500:]
    return "0", ""


def arguments(work: Path, name: str) -> list[str]:
    bundle, data = str(work / "bundle"), str(work / "data")
    photo, out = str(work / "data/test/Beet/000.png"), str(work / "out")
    imported = ["export", out, "--from-onnx", str(work / "model.onnx"), "--data", data, "--no-engine"]
    found = {
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
        "import": [*imported, "--classes", str(work / "classes.txt"), "--contract", str(work / "contract.toml")],
        "data-audit": ["data", "audit", f"{data}/photos.csv", "-o", out],
        "data-split": ["data", "split", f"{data}/photos.csv", "-o", f"{data}/split.csv"],
    }
    return found[name]


def mutated(content: bytes, draws: random.Random, *, is_json: bool) -> bytes:
    """Return the content with one or a few things changed; mostly it keeps its syntax."""
    kind = draws.random()
    if kind < 0.08:
        changed = bytearray(content)
        for _ in range(draws.choice((1, 1, 3, 20))):
            changed[draws.randrange(len(changed))] = draws.randrange(256)
        return bytes(changed)
    if kind < 0.1:
        return content[: draws.randrange(len(content))]
    return mutated_json(content, draws) if is_json else mutated_text(content, draws)


def mutated_json(content: bytes, draws: random.Random) -> bytes:
    value = json.loads(content)
    if draws.random() < 0.02:
        value = draws.choice(NASTY)
    for _ in range(draws.choice((1, 1, 1, 2, 3))):
        places = list(places_of(value))
        if places:
            change(value, draws.choice(places), draws)
    text = json.dumps(value).replace(f'"{DEEP}"', "[" * 100_000 + "]" * 100_000)
    if draws.random() < 0.03:
        text = text.replace("{", '{"classes": ["a", "b"], ', 1)
    return text.encode("utf-8", "surrogatepass")


def places_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of every place; of a long list its beginning."""
    keys = list(value) if isinstance(value, dict) else range(min(len(value), 6)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places_of(value[key])


def change(value: Any, place: tuple[Any, Any], draws: random.Random) -> None:
    container, key = place
    how = draws.random()
    if how < 0.2:
        del container[key]
    elif how < 0.3 and isinstance(container, dict):
        container[f"{key}x"] = container.pop(key)
    elif how < 0.36 and isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    elif how < 0.4:
        container[key] = DEEP
    elif how < 0.44 and isinstance(container[key], int | float) and not isinstance(container[key], bool):
        container[key] = -container[key]
    else:
        container[key] = copy.deepcopy(draws.choice(NASTY))


def mutated_text(content: bytes, draws: random.Random) -> bytes:
    """Change lines and the words in them, of TOML, CSV or plain text."""
    lines = content.decode().splitlines()
    for _ in range(draws.choice((1, 1, 2, 4))):
        number, how = draws.randrange(len(lines)), draws.random()
        if how < 0.15 and len(lines) > 1:
            del lines[number]
        elif how < 0.3:
            lines.insert(draws.randrange(len(lines)), lines[number])
        elif how < 0.35:
            lines[number] += "[" * 5000 + "]" * 5000
        else:
            words = re.split(r"([,=\s])", lines[number])
            words[draws.randrange(len(words))] = draws.choice((*TEXTS, *(str(one) for one in NASTY)))
            lines[number] = "".join(words)
    text = "\n".join(lines).replace("\ud800", "\udcff")
    return text.encode("utf-8", "surrogateescape" if draws.random() < 0.5 else "replace")


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


def make_base(base: Path) -> None:
    """Write photos, a small network, its bundle with all kinds of results, and the other files that are mutated."""
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
        [*arguments(base, "import")[:1], str(bundle), *arguments(base, "import")[2:]],
        ["evaluate", str(bundle), "--data", data],
        ["robustness", str(bundle), "--data", data, "--images", "6"],
        ["calibrate", str(bundle), "--data", data, "--no-engine", "--sensitivity", "--curve"],
        ["evaluate", str(bundle), "--data", data],
        ["robustness", str(bundle), "--data", data, "--images", "6"],
        ["bench", str(bundle), "--budget-s", "1", "--rounds", "6", "--no-memory"],
        ["bundle", "sign", str(bundle), "--key", str(base / "key.pem")],
    )
    for words in commands:
        child = os.fork()
        if child == 0:
            code, said = in_process(words)
            (base / "said").write_text(said)
            os._exit(code not in ("0", "3", "4"))
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise SystemExit(f"cannot make the base: vegrt {' '.join(words)}\n{(base / 'said').read_text()}")
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
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(matrix, "m")]
    graph = helper.make_graph(nodes, "small", [given], [made], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)


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


if __name__ == "__main__":
    main()

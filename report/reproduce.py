"""The commands that make a bundle, its results and its report again, from what was recorded when they ran."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Code, Section, section
from vegrt.report.language.language import translate
from vegrt.train.qat_defaults import DEFAULTS, SETTLED
from vegrt.train.recipe import Recipe, make_recipe

_FLAG = re.compile(r"--[a-z][a-z0-9-]*")  # a result may come from a stranger, and people paste commands
_DATA = "--data"


def reproduce(facts: Facts) -> Section:
    """Return the commands that make the bundle, its results and this page again."""
    return section("reproduce", translate("How to reproduce"), Code("\n".join(commands(facts))))


def commands(facts: Facts, *, place: str = "") -> list[str]:
    """Return the commands, in their order, with every option that was given and is not its default.

    What was made before options were recorded gets the options that its result shows. place: of the bundle, where it is to be
    another than here.
    """
    path = shlex.quote(place or str(facts.bundle.path))
    audit = ["vegrt data audit DATA"] if facts.audit else []
    evaluation, robustness, bench = facts.evaluation or {}, facts.robustness or {}, facts.bench or {}
    margin = f" --margin {evaluation['margin_points']:g}" if evaluation else ""
    judged = command_line(evaluation.get("command"), "evaluate", path)
    measured = robustness.get("command")
    worsened = command_line(measured, "robustness", path) or command_line(measured, "evaluate", path)
    timed = command_line(bench.get("command"), "bench", path)
    reported = command_line(facts.asked.command, "report", path)
    return [
        *audit,
        *_made(facts, path),
        judged or f"vegrt evaluate {path} --data DATA --split test{margin}",
        *([worsened] if worsened else []),
        timed or f"vegrt bench {path}",
        reported or f"vegrt report {path} -o report.html",
    ]


def command_line(command: Any, name: str, path: str) -> str | None:
    """Return a recorded command with its options; None where none of that name was recorded. path: quoted."""
    if not isinstance(command, dict) or command.get("name") != name or not isinstance(command.get("options"), dict):
        return None
    options = {flag: value for flag, value in command["options"].items() if _FLAG.fullmatch(flag)}
    data = [_DATA, "DATA"] if options.pop(_DATA, None) is not None else []
    return " ".join(["vegrt", name, path, *data, *_words(options)])


def recipe_flags(recipe: dict[str, Any]) -> list[str]:
    """Return the flags of `vegrt train` that say what of a recipe is not the default; of files the name alone."""
    if recipe.get("qat"):  # that bundle settles the network, and other defaults apply
        left_out, usual = {*SETTLED, "qat_sha256"}, Recipe().to_dict() | DEFAULTS
    else:
        given = {key: recipe[key] for key in ("backbone", "weights") if key in recipe}
        left_out, usual = set(), make_recipe(**given).to_dict() | {"backbone": None, "weights": "imagenet"}
    words = []
    for key, value in recipe.items():
        if key not in usual or key in left_out or value == usual[key]:
            continue
        flag = f"--{key.replace('_', '-')}"
        text = Path(value).name if key in ("weights", "qat") else str(value)
        words += [flag] if value is True else [flag, shlex.quote(text)]
    return words


def _made(facts: Facts, path: str) -> list[str]:
    """Return the commands that made the bundle: train, export, and calibrate where it was calibrated anew."""
    manifest = facts.bundle.manifest
    recorded = {one.get("name"): one for one in manifest.calibration.get("commands", []) if isinstance(one, dict)}
    exported = command_line(recorded.get("export"), "export", path)
    calibrated = command_line(recorded.get("calibrate"), "calibrate", path)
    anew = [calibrated] if calibrated else []
    if "onnx" in manifest.model:
        source = f"--from-onnx {shlex.quote(str(manifest.model['onnx']))} --classes CLASSES --contract CONTRACT"
        return [exported or f"vegrt export {path} {source} --data DATA", *anew]
    recipe = "".join(f" {word}" for word in recipe_flags(manifest.training.get("recipe", manifest.model)))
    return [f"vegrt train --data DATA{recipe} --out {path}", exported or f"vegrt export {path} --data DATA", *anew]


def _words(options: dict[str, Any]) -> Iterator[str]:
    for flag, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            yield flag
            if not isinstance(one, bool):
                text = f"{one:g}" if isinstance(one, float) else str(one)
                yield shlex.quote(" ".join(text.split()))

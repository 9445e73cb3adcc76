"""The commands that reproduce a bundle, its results and its report, from the recorded options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Code, Section, section_of
from vegrt.report.language.language import translate
from vegrt.results.common import Command
from vegrt.train.qat_defaults import DEFAULTS, SETTLED
from vegrt.train.recipe import Recipe, make_recipe

_FLAG = re.compile(r"--[a-z][a-z0-9-]*")  # result files are untrusted, and people paste commands
_DATA = "--data"


def reproduce_section(facts: Facts) -> Section:
    """Return the section with the commands that reproduce the bundle, its results and this page."""
    return section_of("reproduce", translate("How to reproduce"), Code("\n".join(reproduction_commands(facts))))


def reproduction_commands(facts: Facts, *, bundle_path: str = "") -> list[str]:
    """Return the commands in their order, each with the options that differ from their default.

    For results without recorded options, some are derived from the result. bundle_path: shown instead of the bundle's own path.
    """
    path = shlex.quote(bundle_path or str(facts.bundle.path))
    return [
        *(["vegrt data audit DATA"] if facts.audit else []),
        *_making_commands(facts, path),
        *_measuring_commands(facts, path),
        command_line(command_of(facts.request.command), "report", path) or f"vegrt report {path} -o report.html",
    ]


def _measuring_commands(facts: Facts, path: str) -> Iterator[str]:
    evaluation, robustness = facts.evaluation, facts.robustness
    margin = f" --margin {evaluation.margin_points:g}" if evaluation else ""
    evaluated = [line for command in facts.commands.evaluate if (line := command_line(command, "evaluate", path))]
    yield from evaluated or [f"vegrt evaluate {path} --data DATA --split test{margin}"]
    measured = robustness.command if robustness else None
    # older versions measured robustness with `evaluate --robustness`
    if line := command_line(measured, "robustness", path) or command_line(measured, "evaluate", path):
        yield line
    benched = [line for command in facts.commands.bench if (line := command_line(command, "bench", path))]
    yield from benched or [f"vegrt bench {path}"]


def command_of(value: Any) -> Command | None:
    """Return a recorded command from JSON values; None for anything else."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    options = value.get("options")
    return Command(value["name"], options) if isinstance(options, dict) else None


def command_line(command: Command | None, name: str, path: str) -> str | None:
    """Return a recorded command as a line; None if no command with this name was recorded. path: of the bundle, quoted."""
    if command is None or command.name != name:
        return None
    options = {flag: value for flag, value in command.options.items() if _FLAG.fullmatch(flag)}
    data = [_DATA, "DATA"] if options.pop(_DATA, None) is not None else []
    return " ".join(["vegrt", name, path, *data, *_option_words(options)])


def recipe_flags(recipe: dict[str, Any]) -> list[str]:
    """Return the flags of `vegrt train` for the settings of a recipe that differ from their default; files by name only."""
    if recipe.get("qat"):  # the bundle defines the network, and other defaults apply
        left_out, defaults = {*SETTLED, "qat_sha256"}, Recipe().to_dict() | DEFAULTS
    else:
        network = {key: recipe[key] for key in ("backbone", "weights") if key in recipe}
        left_out, defaults = set(), make_recipe(**network).to_dict() | {"backbone": None, "weights": "imagenet"}
    words = []
    for key, value in recipe.items():
        if key not in defaults or key in left_out or value == defaults[key]:
            continue
        flag = f"--{key.replace('_', '-')}"
        text = Path(value).name if key in ("weights", "qat") else str(value)
        words += [flag] if value is True else [flag, shlex.quote(text)]
    return words


def _making_commands(facts: Facts, path: str) -> list[str]:
    """Return the commands that make the bundle: train, export, and calibrate if it was calibrated again."""
    manifest = facts.bundle.manifest
    commands = [command for value in manifest.calibration.get("commands", []) if (command := command_of(value))]
    recorded = {command.name: command for command in commands}
    exported = command_line(recorded.get("export"), "export", path)
    calibrated = command_line(recorded.get("calibrate"), "calibrate", path)
    again = [calibrated] if calibrated else []
    if "onnx" in manifest.model:
        source = f"--from-onnx {shlex.quote(str(manifest.model['onnx']))} --classes CLASSES --contract CONTRACT"
        return [exported or f"vegrt export {path} {source} --data DATA", *again]
    recipe = "".join(f" {word}" for word in recipe_flags(manifest.training.get("recipe", manifest.model)))
    return [f"vegrt train --data DATA{recipe} --out {path}", exported or f"vegrt export {path} --data DATA", *again]


def _option_words(options: dict[str, Any]) -> Iterator[str]:
    for flag, values in options.items():
        for value in values if isinstance(values, list) else [values]:
            yield flag
            if not isinstance(value, bool):
                text = f"{value:g}" if isinstance(value, float) else str(value)
                yield shlex.quote(" ".join(text.split()))

"""Whatever flag a command has, its use is recorded and comes back in "How to reproduce"."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import typer

import vegrt
from tests.command_line import call
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.cli import app
from vegrt.commands.options.derived import keywords
from vegrt.commands.options.recorded import UNRECORDED, recorded
from vegrt.report.facts.facts import ReportRequest, load_facts
from vegrt.report.reproduce import command_line, command_of, reproduction_commands
from vegrt.train.recipe import Recipe

COMMANDS: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# of train, what says where and when, not what: the recipe is what is recorded
PLACES = {"data", "out", "recipe", "resume", "overwrite", "runs", "tensorboard"}
NUMBERS = ("int range", "float range", "integer", "int", "float", "parse_margin", "parse_batches")
OTHER = {**dict.fromkeys(NUMBERS, "4"), "path": "some/where/x.json", "parse_batch": "1,2,3"}
NAMES = ("export", "calibrate", "evaluate", "robustness", "bench", "report")


def function(name: str) -> Any:
    """Return the function of the API with the options of a command."""
    value = getattr(vegrt, name)
    return getattr(value, "function", value)


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def record_of(name: str, words: list[str]) -> tuple[dict[str, Any], list[Any]]:
    """Return the record of a call with the values that a command gets from these words, and the options of the function."""
    command, own = COMMANDS[name], [item.name for item in keywords(function(name))]
    with command.make_context(name, ["m", *words], resilient_parsing=not words) as ctx:
        values = {item: plain(ctx.params.get(item)) for item in own}
    options = [
        option
        for option in command.params
        if option.param_type_name == "option" and option.name in own and option.name not in UNRECORDED
    ]
    return recorded(function(name), values), options


def other_than_default(option: Any) -> list[str]:
    """Words that give an option another value than its default."""
    if option.is_flag:
        return [(option.secondary_opts or option.opts)[0] if option.default else option.opts[0]]
    choices = getattr(option.type, "choices", None)
    value = (
        next(str(choice) for choice in choices if choice != option.default)
        if choices
        else OTHER.get(option.type.name, "a b")
    )
    return [option.opts[0], value]


@pytest.mark.parametrize("name", NAMES)
def test_no_flag_is_forgotten(name: str) -> None:
    _, options = record_of(name, [])
    words = [word for option in options for word in other_than_default(option)]
    record, _ = record_of(name, words)
    assert record["name"] == name
    assert len(record["options"]) == len(options) > 5
    assert json.loads(json.dumps(record)) == record
    line = command_line(command_of(record), name, "m")
    assert line is not None
    shown = shlex.split(line)
    assert {word for word in words if word.startswith("--")} <= {*shown}
    assert "some/where" not in line, "of a file the name alone"
    assert ("DATA" in shown) == ("--data" in record["options"])


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_not_recorded(name: str) -> None:
    record, _ = record_of(name, [])
    assert record["options"] == {}


def test_a_default_that_was_requested_is_a_request_to_calibrate_again() -> None:
    record, _ = record_of("calibrate", ["--data", "data", "--curve", "--float-type", "fp16"])
    assert record["options"]["--float-type"] == "fp16"


def test_only_the_recipe_of_a_training_is_recorded() -> None:
    known = {field.name for field in fields(Recipe)} | PLACES | {"as_json"}
    options = {option.name.rstrip("_") for option in COMMANDS["train"].params if option.param_type_name == "option"}
    assert options - known == set()


def test_results_and_manifest_hold_how_they_were_made(copied: Bundle, photos: Path) -> None:
    bundle = copied.path
    timed = ("--no-memory", "--rounds", "2", "--batch", "1,2", "--budget-s", "8.5", "--threads", "1", "--data", photos)
    assert call("calibrate", bundle, "--data", photos, "--no-engine", "--photos", "16", "--overwrite").exit_code == 0
    assert call("bench", bundle, *timed).exit_code == 0
    assert call("evaluate", bundle, "--data", photos, "--margin", "auto", "--no-torch").exit_code in (0, 3, 4)
    opened = open_bundle(bundle)
    options = {"--data": photos.name, "--no-engine": False, "--photos": 16, "--overwrite": True}
    recorded_at = {"name": "calibrate", "options": options}
    assert opened.manifest.calibration["commands"] == [recorded_at]
    shown = call("report", bundle, "-o", bundle / "out.md", "--objective", "throughput")
    assert shown.exit_code == 0, shown.output
    text = (bundle / "out.md").read_text(encoding="utf-8")
    for line in (
        f"vegrt calibrate {bundle} --data DATA --no-engine --photos 16 --overwrite",
        f"vegrt evaluate {bundle} --data DATA --margin auto --no-torch",
        f"vegrt bench {bundle} --data DATA --rounds 2 --budget-s 8.5 --batch 1,2 --threads 1 --no-memory",
        f"vegrt report {bundle} --out out.md --objective throughput",
    ):
        assert f"\n{line}\n" in text


def test_a_recorded_command_cannot_inject_another_command(bundle: Bundle, tmp_path: Path) -> None:
    options = {"--x;rm": 1, "-y": 2, "--ok": "a; rm -rf ~\n$(reboot)", "--Bad Flag": True, "--on": True}
    line = command_line(command_of({"name": "bench", "options": options}), "bench", "m")
    assert line == "vegrt bench m --ok 'a; rm -rf ~ $(reboot)' --on"
    oddities: list[Any] = [None, [], "x", {"name": "rm"}, {"name": "bench"}, {"name": "bench", "options": []}]
    for odd in oddities:
        assert command_line(command_of(odd), "bench", "m") is None


def test_results_without_a_record_show_what_they_can(copied: Bundle, photos: Path) -> None:
    assert call("bench", copied.path, "--no-memory", "--no-limits", "--rounds", "1", "--batch", "1").exit_code == 0
    file = copied.path / "results/bench.json"
    body = json.loads(file.read_text())
    del body["command"]
    file.write_text(json.dumps(body))
    facts = load_facts(copied, request=ReportRequest())
    assert f"vegrt bench {copied.path}" in reproduction_commands(facts)

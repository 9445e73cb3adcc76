"""The recipe: precedence of flags, file and defaults; rejected values; and that the help of a flag states its checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vegrt.errors import VegrtError
from vegrt.train.recipe import ENTRIES, TYPES, Recipe, flag_help, list_changes, make_recipe


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('backbone = "resnet50"\nlr = 1\nepochs = 7\nclass_weights = true\n')
    recipe = make_recipe(file, epochs=9, seed=None)
    assert (recipe.backbone, recipe.epochs, recipe.class_weights, recipe.seed) == ("resnet50", 9, True, Recipe().seed)
    assert recipe.lr == 1.0
    assert isinstance(recipe.lr, float)


def test_random_weights_and_vgg16_have_their_own_defaults(tmp_path: Path) -> None:
    assert make_recipe(backbone="vgg16").lr == pytest.approx(3e-5)
    scratch = make_recipe(weights="none")
    assert scratch.epochs_head == 0
    assert scratch.epochs > make_recipe().epochs
    assert make_recipe(weights="none", epochs=2).epochs == 2
    assert make_recipe(weights="none", backbone="vgg16").lr < scratch.lr
    file = tmp_path / "recipe.toml"
    file.write_text('weights = "none"')
    assert make_recipe(file) == scratch


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"learning_rate": 1.0}, r"unknown key\(s\) learning_rate; expected some of backbone, head, .*workers"),
        ({"epochs": "5"}, "epochs is '5'; expected a whole number"),
        ({"epochs": True}, "epochs is True"),
        ({"lr": 0.0}, "lr is 0.0; expected 1e-09 to 10"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"size": 16}, "size is 16; expected 32 to 1024 pixels"),
        ({"size": "360x16"}, "size is 360x16; expected 32 to 1024 pixels"),
        ({"size": "360 x 640"}, "size is '360 x 640'; expected pixels, such as 224, or HEIGHTxWIDTH, such as 360x640"),
        ({"size": [360, 640]}, r"size is \[360, 640\]; expected pixels"),
        ({"fit": "squash"}, "fit is 'squash'; expected one of auto, crop, stretch, letterbox"),
        ({"weights": 1}, "weights is 1; expected a text"),
        ({"augment": "wild"}, "augment is 'wild'; expected one of none, light, full"),
        ({"epochs": 0, "epochs_head": 0}, "expected at least one epoch"),
        ({"weights": "none", "freeze_until": "layer1"}, "would freeze random weights"),
    ],
)
def test_unknown_keys_and_wrong_values_are_refused(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(VegrtError, match=message):
        make_recipe(**flags)


@pytest.mark.parametrize("content", [b"lr = ", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "recipe.toml"
    file.write_bytes(content)
    with pytest.raises(VegrtError, match="not a TOML recipe"):
        make_recipe(file)
    with pytest.raises(VegrtError, match="cannot be read"):
        make_recipe(tmp_path / "absent.toml")


def test_a_written_recipe_reads_back_equal(tmp_path: Path) -> None:
    recipe = Recipe(weights='a "file"\\é😀\t.pth', lr=1e-9, weight_decay=0.1 + 0.2, class_weights=True)
    file = tmp_path / "recipe.toml"
    file.write_text(recipe.to_toml(), encoding="utf-8")
    assert make_recipe(file) == recipe


@pytest.mark.parametrize(
    ("text", "sides"), [("224", 224), ("360x640", (360, 640)), ("64x64", 64), (224, 224), ("32x1024", (32, 1024))]
)
def test_a_size_is_a_side_or_height_and_width(text: str | int, sides: int | tuple[int, int], tmp_path: Path) -> None:
    recipe = make_recipe(size=text)
    assert recipe.sides == sides
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert make_recipe(tmp_path / "recipe.toml") == recipe


def test_changes_name_both_values_and_ignore_workers() -> None:
    old, new = Recipe(lr=1e-3, workers=0), Recipe(lr=2e-3, workers=4)
    assert list_changes(old.to_dict(), new.to_dict()) == ["lr 0.001 -> 0.002"]


@pytest.mark.parametrize("name", ENTRIES)
def test_help_states_the_range_the_choices_and_the_default_that_are_checked(name: str) -> None:
    entry, text = ENTRIES[name], flag_help(name)
    assert TYPES[name] in (str, int, float, bool)
    assert (entry.bounds is not None) == (TYPES[name] in (int, float) or name == "size")
    if entry.bounds is not None:
        assert f"({entry.bounds[0]} to {entry.bounds[1]}" in text
    assert all(choice in entry.help for choice in entry.choices)
    default = getattr(Recipe(), name)
    assert f"default: {'off' if default is False else default if default != '' else 'none'}" in text


def test_help_states_the_defaults_of_other_cases() -> None:
    scratch, vgg16 = make_recipe(weights="none"), make_recipe(backbone="vgg16")
    assert f"{scratch.epochs} with --weights none, 2 with --qat" in flag_help("epochs")
    assert f"{vgg16.lr:g} with vgg16" in flag_help("lr")

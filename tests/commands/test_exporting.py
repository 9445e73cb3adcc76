"""Flags of `vegrt export` and `vegrt infer --rebuild`: invalid ones are refused in one line before any work is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import call, failure
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.commands.options.engine import profile_of
from vegrt.export.engines.options import Profile
from vegrt.infer.runtimes.candidates import is_float16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--opset", "17"], "--opset 17: int8.onnx has float16 scales, which need opset 19"),
        (["--batch", "8"], "--batch '8': expected three numbers MIN,OPT,MAX"),
        (["--batch", "4,2,8"], "profile b4-2-8: expected 1 <= smallest <= tuned <= largest batch"),
        (["--min-int8", "90"], "--min-int8 90.0: expected a share between 0 and 1"),
    ],
)
def test_an_invalid_flag_is_one_line(trained: Bundle, photos: Path, words: list[str], message: str) -> None:
    assert failure("export", trained.path, "--data", photos, *words).startswith(f"vegrt: {message}")


def test_a_builder_level_beyond_five_is_wrong_usage(trained: Bundle, photos: Path) -> None:
    done = call("export", trained.path, "--data", photos, "--builder-level", "6")
    assert done.exit_code == 2


def test_the_batch_sizes_are_named_once(trained: Bundle, photos: Path) -> None:
    done = call("export", trained.path, "--data", photos, "--preset", "offline", "--batch", "1,2,4")
    assert done.exit_code == 2
    assert "sets the batch sizes, as --preset does" in " ".join(done.stderr.replace("│", " ").split())
    assert profile_of("offline", None) == Profile(1, 64, 256)
    assert profile_of(None, None) == Profile(1, 8, 32)
    assert profile_of(None, (1, 2, 4)) == Profile(1, 2, 4)


def test_rebuilding_is_for_tensorrt(trained: Bundle, photos: Path) -> None:
    message = failure("infer", photos, "--bundle", trained.path, "--rebuild")
    assert "--rebuild: builds TensorRT engines, the runtime is not named; add --runtime tensorrt" in message


def test_the_former_name_of_float_type_still_works(
    copied: Bundle, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["calibrate", copied.path, "--data", photos, "--no-engine", "--overwrite", "--rest", "fp32"]
    done = call(*words)
    assert done.exit_code == 0, done.output
    assert "--rest is now called --float-type; --rest will be removed in the next version" in caplog.messages
    after = open_bundle(copied.path)
    assert not is_float16(after, "int8")
    options = after.manifest.calibration["commands"][-1]["options"]
    assert options["--float-type"] == "fp32"
    assert "--rest" not in options
    assert "--rest" not in call("calibrate", "--help").stdout

"""vegrt bench and compare as scripts rely on them: files, exit codes, one object per --json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import answer, call
from vegrt.bundle.bundle import Bundle

QUICK = ("--no-memory", "--no-limits", "--threads", "1", "--runtime", "openvino", "--variant", "int8-cpu")


def test_partial_results_and_presets_have_files_of_their_own(copied: Bundle) -> None:
    whole = copied.path / "results/bench.json"
    whole.parent.mkdir(exist_ok=True)
    whole.write_text("untouched")
    shown = call("bench", copied.path, *QUICK, "--rounds", "1", "--batch", "2")
    assert shown.exit_code == 0, shown.output
    assert "int8-cpu/openvino" in shown.stdout
    preset = ("--preset", "single-stream", "--duration-s", "0")
    streamed = answer("bench", copied.path, *QUICK, *preset)
    assert (streamed["schema"], streamed["scenario"]) == ("vegrt-bench", "single-stream")
    assert streamed["preset"]["compliant"] is False
    assert "not compliant" in call("bench", copied.path, *QUICK, *preset).stdout
    assert {file.name for file in whole.parent.iterdir()} == {
        "bench.json",
        "bench-only-int8-cpu-openvino.json",
        "bench-single-stream-only-int8-cpu-openvino.json",
    }
    assert whole.read_text() == "untouched"
    written = json.loads((whole.parent / "bench-only-int8-cpu-openvino.json").read_text())
    (row,) = written["candidates"]
    assert [point["batch"] for point in row["end_to_end"]] == [2]
    assert row["peak_rss_mib"] is None


def test_wrong_requests_of_bench(copied: Bundle) -> None:
    assert call("bench", copied.path, "--batch", "1,x").exit_code == 2
    for words, message in (
        (("--batch", "0"), "expected numbers from 1"),
        (("--variant", "int4"), "--variant int4: no runtime here runs it; expected one of fp32"),
        (("--device", "cuda"), "CUDA"),
    ):
        result = call("bench", copied.path, "--no-memory", "--no-limits", *words)
        assert result.exit_code == 1, result.output
        assert message in result.stderr


@pytest.mark.parametrize(("slower", "limit", "code"), [(1.0, 1.5, 0), (2.0, 1.5, 3), (1.5, 1.5, 4)])
def test_exit_codes_of_compare_are_those_of_the_gate(
    bundle: Bundle, tmp_path: Path, slower: float, limit: float, code: int
) -> None:
    from vegrt.evaluate.benchmark.statistics import summarize_times
    from vegrt.infer.runtimes.candidates import Candidate, candidate_row
    from vegrt.results.benchmark import Bench, BenchCandidate
    from vegrt.results.convert import fields_of, to_dict
    from vegrt.results.header import header_fields

    candidate = Candidate("fp32", "onnxruntime")
    for name, ms in (("a", 10.0), ("b", 10.0 * slower)):
        timing = summarize_times(1, [ms / 1e3 * (1 + number / 1000) for number in range(-10, 11)])
        row = BenchCandidate(**fields_of(candidate_row(bundle, candidate)), batches=(timing,))
        measured = Bench(**header_fields(bundle, Bench.KIND), candidates=(row,))
        (tmp_path / f"{name}.json").write_text(json.dumps(to_dict(measured)))
    words = ("compare", tmp_path / "a.json", tmp_path / "b.json")
    result = call(*words, "--fail-if-slower", limit, "--json")
    assert result.exit_code == code, result.output
    assert json.loads(result.stdout)["verdict"] == {0: "PASS", 3: "FAIL", 4: "INCONCLUSIVE"}[code]
    shown = call(*words)
    assert shown.exit_code == 0
    assert "fp32/onnxruntime" in shown.stdout
    for limit_of_nothing, refused in (("0", 1), ("inf", 1), ("nan", 1)):
        assert call(*words, "--fail-if-slower", limit_of_nothing).exit_code == refused
    assert call("compare", tmp_path / "none.json").exit_code == 1

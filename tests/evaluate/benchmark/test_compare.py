"""Comparison of benchmark results: ratios of known timings, verdicts, what differs, and files that are none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.evaluate.benchmark.compare import compare_benches
from vegrt.evaluate.benchmark.read import read_samples
from vegrt.evaluate.benchmark.statistics import summarize_times
from vegrt.evaluate.benchmark.tables import comparison_tables
from vegrt.infer.runtimes.candidates import Candidate, candidate_row
from vegrt.results.benchmark import Bench, BenchCandidate
from vegrt.results.convert import fields_of, from_dict, to_dict
from vegrt.results.files import save_result
from vegrt.results.header import header_fields

FP32, INT8 = Candidate("fp32", "onnxruntime"), Candidate("int8-cpu", "openvino")
DOCS = Path(__file__).parents[3] / "docs/results-format.md"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
Make = Callable[..., Path]


def body_of(bundle: Bundle, scale: float = 1.0, *, batches: tuple[int, ...] = (1, 16), seed: int = 0) -> dict[str, Any]:
    """Return a whole benchmark result of seeded timings; int8 takes half of fp32's time; both drift together."""
    random = np.random.default_rng(seed)
    drift = np.linspace(0.8, 1.2, 30)
    rows = []
    for candidate, ms in ((FP32, 10.0), (INT8, 5.0)):
        seconds = {batch: scale * ms / 1e3 * batch * drift * random.lognormal(0, 0.02, 30) for batch in batches}
        own = fields_of(candidate_row(bundle, candidate))
        timings = tuple(summarize_times(batch, samples.tolist()) for batch, samples in seconds.items())
        rows.append(BenchCandidate(**own, load_s=0.1, batches=timings, copies=(), end_to_end=()))
    return to_dict(
        Bench(
            **header_fields(bundle, Bench.KIND),
            scenario="interleaved",
            rounds=30,
            threads=2,
            images_source="random pixels",
            candidates=tuple(rows),
        )
    )


@pytest.fixture
def make(bundle: Bundle, tmp_path: Path) -> Make:
    """Return a function that writes a result file; its last argument changes the body."""

    def made(name: str, scale: float = 1.0, change: Callable[[dict[str, Any]], Any] = id, **more: Any) -> Path:
        body = body_of(bundle, scale, **more)
        change(body)
        (tmp_path / name).write_text(json.dumps(body), encoding="utf-8")
        return tmp_path / name

    return made


def test_a_ratio_of_two_files_is_what_was_put_in(make: Make) -> None:
    comparison = compare_benches([make("a.json"), make("b.json", 1.3, seed=1)], "batches")
    (pair,) = comparison.pairs
    assert [(case.key, case.batch) for case in pair.cases] == [
        (str(candidate), batch) for candidate in (FP32, INT8) for batch in (1, 16)
    ]
    for case in pair.cases:
        assert case.ratio_low < 1.3 < case.ratio_high
        assert case.ratio == pytest.approx(case.new_p50_ms / case.base_p50_ms)
        assert (case.paired, case.same_artifact, case.verdict) == (False, True, None)
    assert pair.differences == ()
    assert comparison.verdict is None


def test_candidates_of_one_file_are_paired_by_round(make: Make) -> None:
    (pair,) = compare_benches([make("a.json")], "batches").pairs
    assert [(case.key, case.base_key) for case in pair.cases] == [(str(INT8), str(FP32))] * 2
    for case in pair.cases:
        assert case.paired
        assert 0.48 < case.ratio_low < 0.5 < case.ratio_high < 0.52  # the common drift of 20 % is gone

    def alone(body: dict[str, Any]) -> None:
        body["scenario"] = "single-stream"

    (pair,) = compare_benches([make("b.json", change=alone)], "batches").pairs
    assert not any(case.paired for case in pair.cases)


@pytest.mark.parametrize(
    ("scale", "limit", "verdict"), [(1.0, 1.3, "PASS"), (1.6, 1.1, "FAIL"), (1.1, 1.1, "INCONCLUSIVE")]
)
def test_verdicts_follow_the_interval(make: Make, scale: float, limit: float, verdict: str) -> None:
    comparison = compare_benches([make("a.json"), make("b.json", scale, seed=1)], "batches", limit=limit)
    assert comparison.verdict == verdict
    assert {case.verdict for case in comparison.pairs[0].cases} == {verdict}


def test_one_slow_case_is_enough_and_a_third_file_is_compared_with_the_first(make: Make) -> None:
    def slow(body: dict[str, Any]) -> None:
        body["candidates"][1]["batches"][0]["samples_ms"] = [9.0, 9.1] * 15

    paths = [make("a.json"), make("b.json"), make("c.json", change=slow)]
    comparison = compare_benches(paths, "batches", limit=1.2)
    assert [pair.new.path for pair in comparison.pairs] == [str(path) for path in paths[1:]]
    assert {pair.base.path for pair in comparison.pairs} == {str(paths[0])}
    assert {case.verdict for case in comparison.pairs[0].cases} == {"PASS"}
    assert [case.verdict for case in comparison.pairs[1].cases] == ["PASS", "PASS", "FAIL", "PASS"]
    assert comparison.verdict == "FAIL"


def test_differences_of_the_setup_are_reported(make: Make) -> None:
    def other(body: dict[str, Any]) -> None:
        body["machine"]["cpu"] = "Cortex-A78AE"
        body["versions"]["onnxruntime"] = "1.20.0"
        body["versions"] |= {"tensorrt": "10.3"}
        body |= {"threads": 6, "gpu": {"name": "Orin", "driver": "540"}}
        body["bundle"]["sha256"] = "0" * 64
        body["candidates"][0]["artifact_sha256"] = "0" * 64
        body["candidates"][1]["key"] = "int8/tensorrt"

    comparison = compare_benches([make("a.json"), make("b.json", change=other)], "batches", limit=2.0)
    (pair,) = comparison.pairs
    new_values = {change.what: change.new for change in pair.differences}
    assert set(new_values) == {
        "CPU",
        "GPU",
        "GPU driver",
        "threads",
        "bundle",
        "onnxruntime version",
        "tensorrt version",
    }
    assert "Cortex-A78AE" in new_values["CPU"]
    assert [case.same_artifact for case in pair.cases] == [False, False]
    assert pair.only_in_base == (f"{INT8} at 1", f"{INT8} at 16")
    assert pair.only_in_new == ("int8/tensorrt at 1", "int8/tensorrt at 16")
    console = Console(width=160)
    with console.capture() as capture:
        console.print(comparison_tables(comparison))
    assert "tensorrt version: none -> 10.3" in capture.get()
    assert "only in " in capture.get()
    assert "PASS: 2 of 2 cases stay below 2 times the base; 2 cases of the base were not compared" in capture.get()


def test_every_key_is_documented(make: Make) -> None:
    chapter = re.split(r"^## ", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (text,) = (part for part in chapter if part.startswith("compare\n"))
    documented = set(re.findall(r"`([a-z_0-9]+)`", text))
    comparison = compare_benches([make("a.json"), make("b.json")], "batches")
    (pair,) = comparison.pairs
    parts = (comparison, pair, pair.base, pair.cases[0])
    assert {key for part in parts for key in to_dict(part)} - documented == set()


def test_a_bundle_stands_for_its_benchmark_unless_that_is_stale(copied: Bundle, make: Make) -> None:
    with pytest.raises(VegrtError, match="no benchmark of its present artifacts; make it: vegrt bench"):
        compare_benches([copied.path], "batches")
    body = body_of(copied)
    save_result(copied, "bench", from_dict(Bench, body))
    (pair,) = compare_benches([copied.path, make("b.json", seed=2)], "batches").pairs
    assert len(pair.cases) == 4
    body["candidates"][0]["artifact_sha256"] = "another"
    save_result(copied, "bench", from_dict(Bench, body))
    (pair,) = compare_benches([copied.path, make("b.json", seed=2)], "batches").pairs
    assert {case.key for case in pair.cases} == {body["candidates"][1]["key"]}
    body["candidates"][1]["artifact_sha256"] = "another"
    save_result(copied, "bench", from_dict(Bench, body))
    with pytest.raises(VegrtError, match="no benchmark of its present artifacts"):
        compare_benches([copied.path], "batches")


def test_a_file_that_is_no_benchmark_is_refused_with_the_cause(make: Make, tmp_path: Path) -> None:
    def refused(change: Callable[[dict[str, Any]], Any], message: str) -> None:
        with pytest.raises(VegrtError, match=message):
            read_samples(make("bad.json", change=change), "batches")

    refused(lambda body: body.update(schema="vegrt-evaluate"), "vegrt-evaluate; expected vegrt-bench")
    refused(lambda body: body.update(schema_version=3), "schema version 3; this vegrt reads 1 to 2")
    refused(lambda body: body.pop("machine"), "machine is missing")
    refused(lambda body: body["candidates"][0]["batches"][0].pop("samples_ms"), "has no samples_ms")
    refused(lambda body: body.update(candidates=[]), "has no timings of batches; choose another --measure")
    for samples in ([], [None], ["fast"], [0.0], [-1.0], [[1.0]], [1e300], [10**400], [float("nan")], "x", 3):

        def replaced(body: dict[str, Any], samples: Any = samples) -> None:
            body["candidates"][0]["batches"][0]["samples_ms"] = samples

        refused(replaced, r"benchmark result \(")
    with pytest.raises(VegrtError, match="has no timings of copies"):
        read_samples(make("good.json"), "copies")
    for content, message in (
        (b"\xff", "not JSON"),
        (b"[1]", "no object; expected vegrt-bench"),
        (b"{}", "no schema; expected vegrt-bench"),
    ):
        (tmp_path / "raw.json").write_bytes(content)
        with pytest.raises(VegrtError, match=message):
            read_samples(tmp_path / "raw.json", "batches")
    with pytest.raises(VegrtError, match="cannot be read"):
        read_samples(tmp_path / "none.json", "batches")


def test_results_with_nothing_in_common_say_what_they_hold(make: Make) -> None:
    with pytest.raises(
        VegrtError,
        match=r"shares no candidate and batch size with .*a\.json; it has .* at batch 64, the other .* 1, 16",
    ):
        compare_benches([make("a.json"), make("b.json", batches=(64,))], "batches")

    def single(body: dict[str, Any]) -> None:
        del body["candidates"][1]

    with pytest.raises(VegrtError, match="nothing to compare; name a second result"):
        compare_benches([make("a.json", change=single)], "batches")


@pytest.fixture(scope="module")
def whole(bundle: Bundle) -> str:
    return json.dumps(body_of(bundle, batches=(1,)))


@given(place=st.sampled_from(["machine", "versions", "bundle", "candidates", "row", "point", "samples"]), junk=JSON)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_no_junk_leads_to_a_traceback(whole: str, tmp_path: Path, place: str, junk: Any) -> None:
    body = json.loads(whole)
    points = body["candidates"][0]["batches"]
    if place == "row":
        body["candidates"][0] = junk
    elif place == "point":
        points[0] = junk
    elif place == "samples":
        points[0]["samples_ms"] = junk
    else:
        body[place] = junk
    (tmp_path / "junk.json").write_text(json.dumps(body), encoding="utf-8")
    try:
        samples = read_samples(tmp_path / "junk.json", "batches")
    except VegrtError:
        return
    assert samples.cases

"""The benchmark on the real bundle: what it states, that it times what it says, and that candidates do not disturb each other."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.errors import DataError, VegrtError
from vegrt.evaluate.benchmark import presets as bench_presets
from vegrt.evaluate.benchmark import rounds as bench_rounds
from vegrt.evaluate.benchmark.bench import bench
from vegrt.evaluate.benchmark.cases import Case, TimedRunner
from vegrt.evaluate.benchmark.inputs import RANDOM, gather_inputs
from vegrt.evaluate.benchmark.presets import bench_scenario
from vegrt.evaluate.benchmark.process import ProcessFigures, parse_peak_kib, run_process
from vegrt.evaluate.benchmark.setup import NAPS, Conditions, OpenedCandidate, wait_idle, warm_up_runner
from vegrt.evaluate.benchmark.statistics import MIN_ROUNDS, takes_part
from vegrt.evaluate.benchmark.tables import bench_table, scenario_table
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.onnxruntime.runner import BoundRunner
from vegrt.infer.runtimes.onnxruntime.session import open_session
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.runner import Runner, RuntimeName
from vegrt.photo.preprocess import load_image
from vegrt.results.benchmark import ARITHMETICS, MEASURES, Bench
from vegrt.results.convert import to_dict

FP32, INT8 = Candidate("fp32", "onnxruntime"), Candidate("int8-cpu", "openvino")
LIGHT = Conditions(threads=1, memory=False, limits=False)
DOCS = Path(__file__).parents[3] / "docs/results-format.md"


class Witness:
    """A real runner that keeps what it was given and answered."""

    runtime: RuntimeName = "onnxruntime"
    device = "cpu"

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.given: list[NDArray[np.uint8]] = []

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.given.append(images.copy())
        return self.runner.logits(images)


@pytest.fixture(scope="module")
def measured(bundle: Bundle) -> Bench:
    return bench(bundle, [FP32, INT8], rounds=6, batch_sizes=(1, 3), conditions=Conditions(threads=1))


def test_a_result_holds_all_three_measures_of_every_case(bundle: Bundle, measured: Bench) -> None:
    assert [row.key for row in measured.candidates] == [str(FP32), str(INT8)]
    assert (measured.scenario, measured.rounds, measured.threads) == ("interleaved", 6, 1)
    assert (measured.images_source, measured.photos_source) == (RANDOM, "golden photos of the bundle")
    assert measured.gpu is None
    for row in measured.candidates:
        for measure in MEASURES:
            assert [timing.batch for timing in row.timings(measure)] == [1, 3]
            for timing in row.timings(measure):
                assert timing.samples_ms is not None
                assert len(timing.samples_ms) == 6
                assert timing.count == sum(sample is not None for sample in timing.samples_ms) >= MIN_ROUNDS
        assert row.load_s is not None
        assert row.load_s > 0
        assert row.peak_rss_mib is not None
        assert row.peak_rss_mib > bundle.artifact("model", row.variant).size_bytes / 2**20
        assert row.stages_ms is not None
        assert row.stages_ms[0].batch == 1
        assert all(min(stages.decode, stages.prepare, stages.run, stages.post) > 0 for stages in row.stages_ms)


def test_the_table_names_every_case_and_where_images_came_from(measured: Bench) -> None:
    table = bench_table(measured)
    assert table.row_count == 4
    assert [*table.columns[0].cells] == [str(FP32), "", str(INT8), ""]
    assert "golden photos" in str(table.caption)


def test_the_table_names_the_setting_of_openvino_where_infer_may_choose_another(measured: Bench) -> None:
    note = "one request on all threads"
    assert note in str(bench_table(replace(measured, threads=4)).caption)
    assert note not in str(bench_table(replace(measured, threads=3)).caption)
    without = tuple(row for row in measured.candidates if row.runtime != "openvino")
    assert note not in str(bench_table(replace(measured, threads=4, candidates=without)).caption)


def test_rows_state_their_share_of_what_the_cpu_can_multiply(bundle: Bundle, measured: Bench) -> None:
    assert measured.limits
    assert measured.macs_per_image == bundle.manifest.macs_per_image
    assert measured.macs_per_image is not None
    for row, arithmetic in zip(measured.candidates, ARITHMETICS, strict=True):
        limit = measured.limit(arithmetic)
        assert limit is not None
        for timing in row.batches:
            work = measured.macs_per_image * timing.images_per_s
            assert timing.limit_share == pytest.approx(work / limit.macs_per_s)
        assert {timing.limit_share for timing in (*row.timings("copies"), *row.timings("end_to_end"))} == {None}


def test_every_key_is_documented(measured: Bench) -> None:
    text = DOCS.read_text(encoding="utf-8")
    common, section = text.partition("\n## ")[0], re.split(r"^## ", text, flags=re.MULTILINE)
    (chapter,) = (part for part in section if part.startswith("bench\n"))
    documented = set(re.findall(r"`([a-z_0-9]+)`", common + chapter))
    assert set(_keys(to_dict(replace(measured, versions={})))) - documented == set()


def test_photos_of_a_data_folder_are_timed_and_broken_ones_left_out(
    bundle: Bundle, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(photos / "test", tmp_path / "data/test")
    (tmp_path / "data/test/Beet/000.jpg").write_bytes(b"no photo")
    inputs = gather_inputs(bundle, tmp_path / "data", 70)
    assert "Beet/000.jpg: not a photo" in caplog.text
    assert len(inputs.photos) == 59
    assert inputs.source == inputs.photos_source == str(tmp_path / "data")
    assert inputs.pixels.shape == (70, 48, 48, 3)
    assert np.array_equal(inputs.pixels[59], load_image(inputs.photos[0], bundle.manifest.contract))
    for file in (tmp_path / "data/test").rglob("*.jpg"):
        file.write_bytes(b"no photo")
    with pytest.raises(DataError, match="none of 60 test photos is readable"):
        gather_inputs(bundle, tmp_path / "data", 1)


def test_a_bundle_without_golden_photos_times_its_random_pixels(bundle: Bundle) -> None:
    bare = replace(
        bundle,
        manifest=replace(
            bundle.manifest,
            artifacts=tuple(artifact for artifact in bundle.manifest.artifacts if artifact.role != "golden"),
        ),
    )
    inputs = gather_inputs(bare, None, 2)
    assert inputs.photos_source == "random pixels as JPEG of quality 90, in memory"
    assert load_image(inputs.photos[0], inputs.contract).shape == (48, 48, 3)


def test_each_measure_runs_the_images_that_it_says(bundle: Bundle, photos: Path) -> None:
    inputs = gather_inputs(bundle, photos, 4)
    witness = Witness(open_candidate(bundle, FP32, threads=1))
    runner = TimedRunner(witness, inputs, 3, 4)
    runner.time("batches", 2, 5)
    runner.time("copies", 4, 5)
    lap = runner.time("end_to_end", 4, 29)
    alone, copies, whole = witness.given
    assert np.array_equal(alone, inputs.pixels[:2])
    assert np.array_equal(copies, inputs.pixels[20:24])
    picks = [(29 * 4 + row) % 60 for row in range(4)]
    assert np.array_equal(whole, [load_image(inputs.photos[pick], inputs.contract) for pick in picks])
    assert lap.total_s == pytest.approx(lap.decode_s + lap.prepare_s + lap.run_s + lap.post_s)
    assert np.array_equal(runner.answers(4), witness.runner.logits(whole).argmax(axis=1))


def test_a_runner_prepares_itself_for_each_size_before_it_is_timed(bundle: Bundle, photos: Path) -> None:
    """On a GPU graphs are captured and kernels chosen then: here the bindings of a session on the CPU are made."""
    session = open_session(bundle.file("model", "fp32"))
    prepared: list[int] = []

    class Preparing(BoundRunner):
        def prepare(self, batch: int) -> None:
            prepared.append(batch)
            super().prepare(batch)

    timed = TimedRunner(Preparing(session, None), gather_inputs(bundle, photos, 4), 3, 4)
    for batch in (1, 4):
        warm_up_runner(timed, batch)
    timed.time("batches", 4, 0)
    assert prepared == [1, 4]


@pytest.fixture(scope="module")
def opened(bundle: Bundle) -> dict[Candidate, OpenedCandidate]:
    inputs = gather_inputs(bundle, None, 2)
    runners = {
        candidate: TimedRunner(Witness(open_candidate(bundle, candidate, threads=1)), inputs, 3, 2)
        for candidate in (FP32, INT8)
    }
    return {candidate: OpenedCandidate(runner, 0.1) for candidate, runner in runners.items()}


def test_candidates_take_turns_with_idle_pauses_between(
    opened: dict[Candidate, OpenedCandidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[int] = []
    counts = {Case(candidate, batch, "copies"): 6 for candidate in opened for batch in (1, 2)} | {
        Case(INT8, 1, "batches"): 3
    }
    timings: bench_rounds.RoundTimings = {}
    monkeypatch.setattr(bench_rounds, "wait_idle", lambda: settled.append(_count(timings)))
    list(bench_rounds.interleave(opened, counts, 60.0, timings))
    assert {len(rounds) for rounds in timings.values()} == {6}
    assert [timing is not None for timing in timings[Case(INT8, 1, "batches")]] == [
        takes_part(turn, 3, 6) for turn in range(6)
    ]
    assert _count(timings) == 4 * 6 + 3
    assert len(settled) == 12
    blocks = np.diff([*settled, _count(timings)])
    assert set(blocks) == {2, 3}  # timings between two waits: all cases of one candidate, never of two


def test_rounds_end_with_the_time_but_not_before_each_case_was_timed(opened: dict[Candidate, OpenedCandidate]) -> None:
    counts = {Case(INT8, 1, "batches"): 30, Case(INT8, 2, "copies"): 2}
    for seconds, count in ((0.0, 32), (1.0, 2)):
        timings: bench_rounds.RoundTimings = {}
        ticks = itertools.count(0.0, 1000 * seconds)
        list(bench_rounds.interleave({INT8: opened[INT8]}, counts, 10.0, timings, clock=ticks.__next__))
        assert _count(timings) == count
        assert all(any(rounds) for rounds in timings.values())


def test_the_wait_for_an_idle_machine_is_limited() -> None:
    naps: list[float] = []
    wait_idle(iter([0.0, 0.01, 0.01, 0.02, 0.02, 0.02, 9.0]).__next__, naps.append)
    assert len(naps) == 3
    wait_idle(itertools.count(0.0).__next__, naps.append)
    assert len(naps) == 3 + NAPS


def test_memory_of_a_candidate_is_its_own_and_not_what_this_process_once_had(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    ballast_mib = 600
    ballast = np.ones(ballast_mib << 17)
    figures = run_process(bundle, INT8, threads=1, batch=1)
    assert figures.peak_rss_mib is not None
    assert 20 < figures.peak_rss_mib < ballast_mib, ballast.size
    assert figures.first_answer_s is not None
    assert 0 < figures.first_answer_s < 60
    assert run_process(bundle, Candidate("int4", "openvino"), threads=1, batch=1) == ProcessFigures()
    assert "int4/openvino: peak memory and first answer not measured" in caplog.text
    assert "no int4 model" in caplog.text


def test_the_peak_memory_of_the_kernel_is_read() -> None:
    assert parse_peak_kib("VmPeak:\t  900 kB\nVmHWM:\t    512 kB\nVmRSS:\t 1 kB\n") == 512
    with pytest.raises(ValueError, match="no VmHWM"):
        parse_peak_kib("VmRSS:\t 1 kB\n")


def test_single_stream_reaches_both_minima(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_presets, "MIN_QUERIES", 20)
    result = bench_scenario(bundle, [INT8], "single-stream", batch_sizes=(4,), duration_s=0.0, conditions=LIGHT)
    assert result.preset is not None
    assert result.preset.compliant is False
    assert "not compliant" in str(scenario_table(result).title)
    (row,) = result.candidates
    (alone,), (copies,) = row.batches, row.timings("copies")
    assert [(timing.batch, timing.count) for timing in (alone, copies)] == [(1, 20)] * 2
    assert alone.p50_ms < copies.p50_ms  # the same queries, without and with copies
    longer = bench_scenario(bundle, [INT8], "single-stream", batch_sizes=(4,), duration_s=0.5, conditions=LIGHT)
    assert sum(sample or 0 for sample in longer.candidates[0].timings("copies")[0].samples_ms or ()) > 200


def test_offline_hands_over_everything_at_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_presets, "MIN_SAMPLES", 60)
    result = bench_scenario(bundle, [INT8], "offline", batch_sizes=(16, 7), duration_s=0.0, conditions=LIGHT)
    (timing,) = result.candidates[0].timings("copies")
    assert timing.batch in (7, 16)
    assert timing.count is not None
    assert 60 <= timing.count * timing.batch < 60 + timing.batch
    assert timing.images_per_s_low is not None
    assert timing.images_per_s_high is not None
    assert timing.images_per_s_low < timing.images_per_s_high
    samples_ms = [sample for sample in timing.samples_ms or () if sample is not None]
    rate = timing.batch * 1000 / float(np.mean(samples_ms))  # of the whole, not of the median batch
    assert 0.5 * rate < timing.images_per_s < 1.01 * rate
    assert "not compliant" in str(scenario_table(result).title)


def test_impossible_requests_are_refused(bundle: Bundle, trained: Bundle) -> None:
    with pytest.raises(VegrtError, match="holds no ONNX model yet; make it: vegrt export"):
        bench(trained, [], rounds=1)
    for sizes in ((), (0,), (1, 100_000)):
        with pytest.raises(VegrtError, match="expected numbers from 1 to"):
            bench(bundle, [FP32], rounds=1, batch_sizes=sizes)
    with pytest.raises(VegrtError, match="expected at least 1"):
        bench(bundle, [FP32], rounds=0)
    for seconds in (float("nan"), float("inf"), -1.0):
        with pytest.raises(VegrtError, match="expected a number from 0"):
            bench_scenario(bundle, [FP32], "single-stream", batch_sizes=(1,), duration_s=seconds)


def _count(timings: bench_rounds.RoundTimings) -> int:
    return sum(timing is not None for rounds in timings.values() for timing in rounds)


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(child)

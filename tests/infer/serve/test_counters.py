from __future__ import annotations

import json
import threading
import urllib.request
from pathlib import Path

from tests.command_line import call
from vegrt.bundle.bundle import Bundle
from vegrt.infer.api import load
from vegrt.infer.drift.counters import open_counters, read_counters
from vegrt.infer.serve.app import Service
from vegrt.infer.serve.server import listen, make_server, url_of
from vegrt.infer.serve.settings import ServerSettings


def post(url: str, photo: Path) -> dict[str, object]:
    with urllib.request.urlopen(urllib.request.Request(f"{url}v1/predict", photo.read_bytes()), timeout=60) as answer:
        result: dict[str, object] = json.load(answer)
        return result


def test_a_service_counts_its_answers(trusted: Bundle, files: list[Path], tmp_path: Path) -> None:
    model = load(trusted.path, variant="fp32", runtime="onnxruntime", reject=True)
    assert model.judge is not None
    counters = open_counters(tmp_path / "counters.json", model.bundle, model.candidate, model.judge)
    with listen("127.0.0.1", 0) as listener:
        server = make_server(Service(model, ServerSettings(), counters))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            answers = [post(url_of(listener), file) for file in files[:6]]
            with urllib.request.urlopen(f"{url_of(listener)}metrics", timeout=60) as response:
                lines = response.read().decode().splitlines()
        finally:
            server.should_exit = True
            thread.join(60)
    for label in model.classes:
        count = sum(answer["label"] == label for answer in answers)
        assert f'vegrt_answers_total{{label="{label}"}} {float(count)}' in lines
    for decision in ("accept", "unsure", "foreign"):
        count = sum(answer["decision"] == decision for answer in answers)
        assert f'vegrt_decisions_total{{decision="{decision}"}} {float(count)}' in lines
    assert 'vegrt_calibrated_probability_bucket{le="+Inf"} 6.0' in lines
    assert 'vegrt_foreign_score_bucket{le="0.0"}' in " ".join(lines)
    assert 'vegrt_drift{of="photos"} 0.0' in lines
    assert read_counters(tmp_path / "counters.json").photos == 6


def test_counters_need_decisions(trusted: Bundle, tmp_path: Path) -> None:
    told = call("serve", trusted.path, "--counters", tmp_path / "counters.json")
    assert told.exit_code == 1
    assert "--counters: counts what --reject decides; add --reject" in told.stderr

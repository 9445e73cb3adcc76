"""Peak memory and time of calibration beside ONNX Runtime's own calibrators, each case in a process of its own.

    python tests/slow/calibration_cost.py BUNDLE DATA

BUNDLE: exported. DATA: its validation photos are used; where more are asked for than there are, they repeat.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LIMIT_GIB = 16
ROUNDS = 2
TIMED = ("vegrt 200", "minmax 200")  # interleaved
CASES = (*TIMED * ROUNDS, "vegrt 64", "entropy 64", "entropy 128", "vegrt 512", "vegrt 750")


def main(bundle: Path, data: Path) -> None:
    """Print one line of JSON for each case."""
    for case in CASES:
        subprocess.run([sys.executable, __file__, str(bundle), str(data), case], check=False)


def measure(bundle: Path, data: Path, case: str) -> None:
    """Run one case here and print its wall time and this process's peak memory."""
    kind, count = case.split()
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_GIB << 30, LIMIT_GIB << 30))
    photos = Photos(bundle, data, int(count))
    start = time.perf_counter()
    try:
        {"vegrt": ours, "minmax": theirs, "entropy": theirs}[kind](photos, kind)
        outcome = "done"
    except Exception as error:  # MemoryError, or whatever ONNX Runtime makes of one
        outcome = f"stopped at {LIMIT_GIB} GiB ({type(error).__name__})"
    seconds = time.perf_counter() - start
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = {"case": case, "seconds": round(seconds, 1), "peak_mib": round(peak_mib), "outcome": outcome}
    sys.stdout.write(json.dumps(line) + "\n")


class Photos:
    """Validation photos in memory, as calibration takes them."""

    def __init__(self, bundle: Path, data: Path, count: int) -> None:
        from vegrt.bundle.bundle import open_bundle
        from vegrt.calibration.photos import calibration_photos
        from vegrt.calibration.pixels import PhotoSet

        self.bundle = open_bundle(bundle)
        manifest = self.bundle.manifest
        used = calibration_photos(data, manifest.classes, manifest.contract).used
        self.set = PhotoSet([used.photos[index % len(used)] for index in range(count)], used.pixels)


def ours(photos: Photos, _: str) -> None:
    """Observe, and derive the ranges of all four methods for both encodings."""
    from vegrt.calibration.graph.onnx_graph import load_fp32
    from vegrt.calibration.resume import CalibrationProgress
    from vegrt.calibration.settings import CalibrationSettings
    from vegrt.calibration.tournament.calibrate import all_ranges, observe_tensors

    model = load_fp32(photos.bundle).model
    all_ranges(observe_tensors(model, photos.set, CalibrationProgress(None, "")), CalibrationSettings())


def theirs(photos: Photos, kind: str) -> None:
    """Let one of ONNX Runtime's calibrators compute its ranges."""
    from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = photos.set.batches(1)

        def get_next(self) -> Any:
            images = next(self.left, None)
            return None if images is None else {"images": images}

    method = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy}[kind]
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder, "augmented.onnx"))
        calibrator = create_calibrator(photos.bundle.file("model", "fp32"), None, model, calibrate_method=method)
        calibrator.collect_data(Reader())
        calibrator.compute_data()


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measure(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Fuzzes one target with atheris, which measures the coverage of Python code.

    python -m tests.slow.fuzz.guided WORK TARGET [-runs=100000]

Needs `pip install atheris`, which has wheels for some versions of Python. WORK: of an earlier run of tests.slow.fuzz, whose
corpus it begins with and adds to; findings are stored there too. More options of libFuzzer may follow.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vegrt"]):
    from tests.slow.fuzz.__main__ import CORPUS
    from tests.slow.fuzz.mutate_bytes import MAX_BYTES
    from tests.slow.fuzz.targets import TARGETS
    from tests.slow.fuzz.worker import Work, outcome_of


def main() -> None:
    """Fuzz until the runs are done, or until a crash or a hang ends the process, as libFuzzer's do."""
    work, name, *options = Path(sys.argv[1]).resolve(), *sys.argv[2:]
    target = next(target for target in TARGETS if target.name == name)
    state = Work(target, work, work / "base", CORPUS, 1)
    for number, seed in enumerate(state.seeds):
        (state.corpus_folder / f"seed-{number}").write_bytes(seed)
    folder = Path(tempfile.mkdtemp(prefix="job-"))

    def read(data: bytes) -> None:
        outcome = outcome_of(target, data, folder)
        if outcome.kind == "traceback":
            finding = state.save_finding("traceback", outcome.shape, data, outcome.text)
            sys.stderr.write(f"{name}: {finding}: {outcome.shape}\n")

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        draws = random.Random(seed)
        if draws.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return target.mutate(data, state.seeds, draws)[:most]

    limits = [f"-max_len={MAX_BYTES}", "-timeout=5", f"-rss_limit_mb={2 * target.limit_mib}"]
    place = f"-artifact_prefix={state.findings_folder}/"
    atheris.Setup([name, *limits, place, *options, str(state.corpus_folder)], read, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""Does `vegrt drift` keep its promises? python tests/slow/drift.py BUNDLE --data DATA --shifted DIR [--variant int8-cpu]

The bundle's trust.json must know the candidates. Their answers to the test photos and to the shifted ones are computed once, then
1. clean streams of test photos, drawn with replacement: how many raise a false alarm. Streams that show every test photo once,
   in random order, are counted as well;
2. streams that turn from test photos to shifted ones: after how many photos this is called;
3. what deciding and counting costs, as a share of the time of the model itself.
Exit code 1 for more false alarms than stated, a turn that is called after more than 200 photos, or more than 2 % of the time.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.dataset.photos import read_split
from vegrt.evaluate.selection import Selection, select_candidates
from vegrt.evaluate.trust.answers import collect_photo_answers
from vegrt.evaluate.trust.assess import OtherPhotos
from vegrt.infer.drift.counters import bins_of, open_counters
from vegrt.infer.drift.looks import FALSE_ALARMS, Looks
from vegrt.infer.drift.record import KINDS, Alarms
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.runner import Answers
from vegrt.infer.trust.histograms import Binned
from vegrt.infer.trust.judge import Judge
from vegrt.infer.trust.store import open_judge

LONGEST_DELAY, LARGEST_COST = 200, 0.02
_LENGTH, _BEFORE = 2000, (500, 5000)


@dataclass(frozen=True)
class Pools:
    """The answers of a candidate to test and shifted photos."""

    judge: Judge
    classes: int
    test: Binned
    shifted: Binned

    def looks(self) -> Looks:
        """Return looks that have seen no photo."""
        assert self.judge.trust.reference is not None, "vegrt trust BUNDLE --data DATA"
        reference = self.judge.trust.reference
        return Looks.resumed(
            reference.histogram(self.classes), reference.edges, (), {kind: Alarms() for kind in KINDS}, 0
        )


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def taken(photos: Binned, rows: NDArray[np.int_]) -> Binned:
    return Binned(photos.labels[rows], photos.confidence[rows], photos.scores[rows], photos.unsure[rows])


def has_alarm(looks: Looks) -> bool:
    return any(alarms.first is not None for alarms in looks.alarms.values())


def false_alarms(pools: Pools, streams: int, length: int, random: np.random.Generator) -> tuple[int, int]:
    """Return how many streams with replacement, and how many permutations of the test photos, raise an alarm."""
    false = [0, 0]
    size = len(pools.test)
    for _ in range(streams):
        for place, rows in enumerate((random.integers(0, size, length), random.permutation(size))):
            looks = pools.looks()
            looks.count(taken(pools.test, rows), 0)
            false[place] += has_alarm(looks)
    return false[0], false[1]


def delays(pools: Pools, streams: int, random: np.random.Generator) -> NDArray[np.int_]:
    """Return after how many shifted photos each stream's change is called; streams with an earlier alarm are drawn again."""
    result = list[int]()
    while len(result) < streams:
        looks = pools.looks()
        before = int(random.integers(*_BEFORE))
        looks.count(taken(pools.test, random.integers(0, len(pools.test), before)), 0)
        if looks.alarms["photos"].first is not None:
            continue
        number = 0
        while looks.alarms["photos"].first is None and number < 10 * LONGEST_DELAY:
            number += 1
            looks.count(taken(pools.shifted, random.integers(0, len(pools.shifted), 1)), 0)
        result.append(number)
    return np.array(result)


def cost(bundle: Bundle, candidate: Candidate, judge: Judge, file: Path, batch: int) -> tuple[float, float, float]:
    """Return the processor seconds per photo of the model, of deciding, and of deciding and counting."""
    runner = open_candidate(bundle, candidate, embeddings=judge.needs_embeddings)
    images = np.random.default_rng(0).integers(0, 256, (batch, *bundle.manifest.contract.shape), np.uint8)
    answers = runner.answers(images)
    rounds = max(20, 1600 // batch)
    model_s = min(timed(lambda: runner.answers(images), max(3, 320 // batch)) for _ in range(3)) / batch
    deciding_s = min(timed(lambda: judge.judge(answers), rounds) for _ in range(3)) / batch
    open_counters(file, bundle, candidate, judge)
    both_s = min(timed(lambda: judge.judge(answers), rounds) for _ in range(3)) / batch
    judge.on_judged = None
    return model_s, deciding_s, both_s


def timed(call: object, rounds: int) -> float:
    """Return the mean processor time of a call, in seconds."""
    before = time.process_time()
    for _ in range(rounds):
        call()  # type: ignore[operator]
    return (time.process_time() - before) / rounds


def pools_of(bundle: Bundle, chosen: list[Candidate], data: Path, shifted: Path) -> dict[Candidate, Pools]:
    classes = bundle.manifest.classes
    photos = {
        "test": read_split(data, "test", classes).photos,
        "shifted": OtherPhotos(shifted=shifted).shifted_photos(classes),
    }
    collected = {name: collect_photo_answers(bundle, rows, chosen, name).photos for name, rows in photos.items()}
    result = {}
    for candidate in chosen:
        judge = open_judge(bundle, candidate)
        assert judge.trust.reference is not None, "vegrt trust BUNDLE --data DATA"
        edges = judge.trust.reference.edges

        def bins(answers: Answers, judge: Judge = judge, edges: object = edges) -> Binned:
            return bins_of(judge.judge(answers), edges)  # type: ignore[arg-type]

        parts = [bins(collected[name][candidate]) for name in ("test", "shifted")]
        result[candidate] = Pools(judge, len(classes), *parts)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--shifted", type=Path, required=True)
    parser.add_argument("--variant", action="append")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--length", type=int, default=_LENGTH)
    parser.add_argument("--counters", type=Path, default=Path("drift-counters.json"))
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    chosen = select_candidates(bundle, Selection(options.runtime, None, tuple(options.variant or ())))
    has_failed = False
    for candidate, pools in pools_of(bundle, list(chosen), options.data, options.shifted).items():
        random = np.random.default_rng(0)
        drawn, permuted = false_alarms(pools, options.streams, options.length, random)
        called = delays(pools, max(1, options.streams // 5), random)
        say(
            f"{candidate}: of {options.streams} clean streams {drawn} raised a false alarm within {options.length} photos, "
            f"{permuted} within all {len(pools.test)} test photos in random order; stated: {FALSE_ALARMS:.0%}"
        )
        say(f"{candidate}: {len(called)} turns called after {np.median(called):.0f} photos, {called.max()} at most")
        has_failed |= drawn > FALSE_ALARMS * options.streams or called.max() > LONGEST_DELAY
        for batch in (1, 16):
            options.counters.unlink(missing_ok=True)
            model_s, deciding_s, both_s = cost(bundle, candidate, pools.judge, options.counters, batch)
            share = both_s / model_s
            say(
                f"{candidate}, batch {batch}: model {1e6 * model_s:.0f} us a photo, deciding {1e6 * deciding_s:.0f}, "
                f"deciding and counting {1e6 * both_s:.0f}: {share:.2%}"
            )
            has_failed |= batch > 1 and share > LARGEST_COST
    options.counters.unlink(missing_ok=True)
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(main())

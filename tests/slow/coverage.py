"""How often intervals cover the truth and how often the gate is wrong, by simulation and, where it can be, by summing.

    python tests/slow/coverage.py

Two tables. The paired ones are exact: every count of newly wrong and newly right photos is weighted by its probability. The
bootstrapped ones draw test splits from a population of answers whose figures are known.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from vegrt.evaluate.figures import LabelledAnswers, bin_gaps
from vegrt.evaluate.resampling import Resamples, percentile
from vegrt.evaluate.statistics import tango, verdict_of, wilson
from vegrt.results.common import Interval

SIZES = (300, 900, 3000)
RATES = (0.002, 0.01, 0.05, 0.2)
MARGIN = 0.005
SPLITS = 2000
POPULATION = 400_000


def main() -> None:
    """Print both tables."""
    say("Wilson and Tango, 95 %: exact coverage; gate: share of PASS at a true drop equal to the margin of 0.5 points")
    say(
        f"{'images':>7} {'discordance':>12} {'true drop':>10} {'Tango covers':>13} {'gate passes':>12} {'Wilson covers':>14}"
    )
    for images in SIZES:
        for rate in RATES:
            for drop in (0.0, MARGIN):
                if drop <= rate:
                    say(paired_line(images, rate, drop))
    say("")
    say(f"Bootstrap, 95 %, {SPLITS} splits drawn per line: coverage of the population's figure")
    names = ("nll", "brier", "margin", "ece")
    say(f"{'images':>7} {'accuracy':>9} " + " ".join(f"{name:>10}" for name in names))
    for skill in (4.0, 7.0):
        for images in SIZES:
            say(bootstrap_line(images, skill))


def paired_line(images: int, rate: float, drop: float) -> str:
    """Return a line of the first table."""
    covered = passed = 0.0
    for wrong, right, weight in outcomes(images, rate, drop):
        interval = tango(wrong, right, images)
        covered += weight * (interval.low <= drop <= interval.high)
        passed += weight * (verdict_of(interval, MARGIN) == "PASS")
    shown = f"{passed:12.4f}" if drop == MARGIN else f"{'':>12}"
    share = wilson_coverage(images, 1 - rate)
    return f"{images:7} {rate:12.3f} {drop:10.3f} {covered:13.4f} {shown} {share:14.4f}"


def outcomes(images: int, rate: float, drop: float) -> Iterator[tuple[int, int, float]]:
    """Yield counts of newly wrong and newly right photos with their probability; all but 1e-6 of it."""
    low, high = (int(binom.ppf(tail, images, rate)) for tail in (1e-7, 1 - 1e-7))
    chance = (rate + drop) / (2 * rate)
    for discordant in range(low, high + 1):
        outer = binom.pmf(discordant, images, rate)
        for wrong, inner in enumerate(binom.pmf(np.arange(discordant + 1), discordant, chance)):
            if outer * inner > 1e-12:
                yield wrong, discordant - wrong, float(outer * inner)


def wilson_coverage(images: int, share: float) -> float:
    """Return the exact coverage of Wilson's interval of an accuracy."""
    weights = binom.pmf(np.arange(images + 1), images, share)
    likely = np.flatnonzero(weights > 1e-12)
    return float(sum(weights[hits] for hits in likely if covers(wilson(int(hits), images), share)))


def bootstrap_line(images: int, skill: float) -> str:
    """Return a line of the second table. skill: how far the right class's logit lies above the others."""
    logits, labels = population(skill)
    columns, right = per_image(logits, labels)
    truth, gaps = columns[:, :3].mean(axis=0), np.abs(columns[:, 3:].mean(axis=0)).sum()
    resamples, random = Resamples(images), np.random.default_rng(9)
    hits = np.zeros(4)
    for _ in range(SPLITS):
        drawn = columns[random.integers(POPULATION, size=images)]
        means, again = drawn.mean(axis=0), resamples.means(drawn)
        error, errors = float(np.abs(means[3:]).sum()), np.abs(again[:, 3:]).sum(axis=1)
        hits[:3] += [covers(percentile(means[index], again[:, index]), truth[index]) for index in range(3)]
        hits[3] += covers(percentile(error, errors), gaps)
    return f"{images:7} {right:9.3f} " + " ".join(f"{share:10.3f}" for share in hits / SPLITS)


def population(skill: float, classes: int = 15) -> tuple[NDArray[np.float32], NDArray[np.int_]]:
    """Return logits and labels of a classifier that is a little too sure of itself."""
    random = np.random.default_rng(4)
    labels = random.integers(0, classes, POPULATION)
    logits = random.normal(0, 1, (POPULATION, classes))
    logits[np.arange(POPULATION), labels] += random.normal(skill, 1.5, POPULATION)
    return (1.2 * logits).astype(np.float32), labels


def per_image(logits: NDArray[np.float32], labels: NDArray[np.int_]) -> tuple[NDArray[np.float64], float]:
    """Return nll, Brier, margin and the calibration bins' gaps of each image (N, 18), and the accuracy."""
    answers = LabelledAnswers.of(logits, labels)
    assert answers.probability is not None
    columns = [answers.nll, answers.brier, answers.margin, bin_gaps(answers.probability, answers.right)]
    return np.column_stack([column for column in columns if column is not None]), float(answers.right.mean())


def covers(interval: Interval, truth: float) -> bool:
    """Return whether the truth lies in the interval."""
    return interval.low <= truth <= interval.high


def say(line: str) -> None:
    """Print a line at once, so that a long run shows where it is."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

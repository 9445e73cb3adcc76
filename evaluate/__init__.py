"""Answers to verdicts: accuracy, paired statistics, the gate, robustness, verification, benchmarks."""

from vegrt.callable_stage import make_callable

make_callable(__name__, "vegrt.api.evaluation")

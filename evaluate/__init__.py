"""Answers to verdicts: accuracy, paired statistics, the gate, robustness, verification, benchmarks."""

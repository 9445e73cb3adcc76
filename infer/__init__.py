"""Artifacts to answers: runners, the batch pipeline, evaluation and gate, benchmark."""

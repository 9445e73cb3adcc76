"""A slot for your runtime: fill in open_model, then run classify.py MODEL --runtime example --input FORM --check."""

from __future__ import annotations

from typing import Any, Callable


def open_model(file: str) -> Callable[[Any], Any]:
    """Return a function that maps the input of one photo to its logits.

    file: path of the model. The input is a numpy array whose first dimension is 1, in the form that --input names. The logits are
    one number per class, in any shape, in the order of the model's output `logits`; probabilities are not logits.
    """
    raise NotImplementedError(__file__ + ": open_model is empty; fill it in")

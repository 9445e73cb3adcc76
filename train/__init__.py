"""Photos to checkpoint: sample set, data audit, recipe, training loop, run history, tuning."""

from vegrt.callable_stage import make_callable

make_callable(__name__, "vegrt.api.training")

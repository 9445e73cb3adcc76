"""Photos to checkpoint: sample set, data audit, recipe, training loop, run history, tuning."""

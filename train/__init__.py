"""Photos to checkpoint: sample set, data audit, backbones, the fit loop."""

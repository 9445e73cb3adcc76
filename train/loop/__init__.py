"""The training loop and its parts: network, learner, validation, checkpoints, processes."""

"""The training loop and everything that it moves: network, learner, checkpoints, processes."""

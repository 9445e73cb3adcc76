"""Photos to batches of pixels, decoded ahead of the model."""

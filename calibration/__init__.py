"""From activations to ranges: observers, range methods, Q/DQ placement, scores of quantized models."""

"""From observed activations to the range of each tensor."""

"""8-bit graphs: which tensors are quantized, the Q/DQ pairs that are written, and the checks of the result."""

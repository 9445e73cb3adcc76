"""TensorRT: engines that the bundle holds, opened and run."""

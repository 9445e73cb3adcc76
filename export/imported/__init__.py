"""A classifier that someone else exported to ONNX, converted to the form of a bundle."""

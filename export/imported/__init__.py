"""Classifiers imported as ONNX files and converted to the form of a bundle."""

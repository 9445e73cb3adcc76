"""The bundle: one folder per model, changed as a whole, verified, packed and signed."""

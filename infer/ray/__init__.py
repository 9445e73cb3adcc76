"""`vegrt infer --engine ray`: the same pipeline on many machines."""

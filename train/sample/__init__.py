"""The embedded sample set: fifteen vegetables drawn in code."""

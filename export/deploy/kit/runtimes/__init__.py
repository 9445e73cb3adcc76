"""Slots of the kit's program: one file per runtime, each with a function `open_model`. They run on devices: Python 3.8."""

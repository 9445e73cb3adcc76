"""The capabilities of this machine: runtimes, GPUs, and a forecast of the fast variants."""

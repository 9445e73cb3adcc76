"""What this machine can do: runtimes, GPUs, and a forecast of what will be fast."""

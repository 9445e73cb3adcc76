"""The functions of the Python API, one for each command that makes or measures a bundle: `vegrt.train(...)` calls one."""

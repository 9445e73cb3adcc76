"""The embedded sample set: fifteen classes of vegetables drawn by a program."""

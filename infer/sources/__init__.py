"""The sources that a user names, as one lazy stream of photos."""

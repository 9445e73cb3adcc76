"""Whatever a user names, as one lazy stream of photos."""

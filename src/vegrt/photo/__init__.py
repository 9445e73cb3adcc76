"""A photo file to the pixels that a model takes."""

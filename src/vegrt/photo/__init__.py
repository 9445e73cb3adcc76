"""From a photo file to the pixels of a model's input."""

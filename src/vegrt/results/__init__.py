"""Result files: their formats, and how they are written and read."""

"""How fast each candidate is, measured in interleaved rounds."""

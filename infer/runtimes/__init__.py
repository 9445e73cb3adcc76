"""Model files, loaded and callable: one module per runtime, and the choice among them."""

"""A model file, loaded and callable: one module per runtime, and the choice among them."""

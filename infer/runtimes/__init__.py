"""Model files, loaded and callable: one module or room per runtime, and the choice among them."""

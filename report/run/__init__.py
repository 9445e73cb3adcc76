"""One training run, and one data audit, as a page and as text."""

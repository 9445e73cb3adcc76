"""Learns when answers can be trusted, on validation photos, and judges it on test photos."""

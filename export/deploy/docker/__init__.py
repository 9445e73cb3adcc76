"""An image that serves a bundle."""

"""Writes a bundle in the form that a server or a device needs."""

"""Labelled photos: folders and CSV files, splits and classes."""

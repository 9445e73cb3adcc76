"""Recipes found by trials."""

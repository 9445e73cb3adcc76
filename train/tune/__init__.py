"""The search for a better recipe by trials."""

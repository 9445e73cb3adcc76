"""Answers to pictures: one offline HTML page and one table, from a bundle's manifest and result files alone."""

"""Answers to pictures: one offline HTML page from result files."""

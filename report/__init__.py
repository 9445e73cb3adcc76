"""Answers to pictures: one offline HTML page and one table, from a bundle's manifest and result files alone."""

from vegrt.callable_stage import make_callable

make_callable(__name__, "vegrt.api.reporting")

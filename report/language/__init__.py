"""The languages of a report."""

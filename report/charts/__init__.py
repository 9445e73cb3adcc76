"""The charts of a report: Vega-Lite specifications, and picture files of them."""

"""The choice of a range method by the scores of the 8-bit models, and the analyses that use the same scores."""

"""When an answer can be trusted: calibrated probability, set of classes, and accept, unsure or foreign."""

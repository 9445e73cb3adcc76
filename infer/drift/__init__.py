"""Whether the photos of a device still look like those of validation: counts, looks at them, and a verdict."""

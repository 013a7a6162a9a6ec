"""The world: a generator of synthetic posts."""

"""Posts and predictions: readers, exporters, scoring, HTML pages and the synthetic world.

This package imports nothing. Import from the modules, or from `gmner`.
"""

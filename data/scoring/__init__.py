"""Scoring: protocols, counting, bias, error classes, confidence intervals, and the metric for DSPy."""

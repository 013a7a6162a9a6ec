"""How answers are judged: protocols, counting, bias, error classes, intervals, and the metric for DSPy."""

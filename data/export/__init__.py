"""Exporters: posts and predictions in the formats of other tools."""

"""Readers of published data sets. Errors and oddities name the file and the line or object."""

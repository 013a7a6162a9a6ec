"""Readers of data sets, one file for each format. Errors and oddities name the file and the line or object."""

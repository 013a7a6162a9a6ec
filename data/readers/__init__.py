"""Readers of the data sets of the field: every fault and every oddity with its file and line or object."""

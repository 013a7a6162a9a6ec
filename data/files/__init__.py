"""Atomic writes of files and folders."""

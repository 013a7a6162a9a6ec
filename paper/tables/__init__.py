"""The tables of the paper: one file each, and one line each in the registry."""

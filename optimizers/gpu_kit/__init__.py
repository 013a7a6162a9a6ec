"""`python -m gmner.gpu`: measures speed and memory of this package on a GPU."""

"""`python -m gmner.gpu`: what this package does on a GPU, measured by one command."""

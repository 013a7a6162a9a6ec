"""What improves a program."""

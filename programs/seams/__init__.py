"""Private and undocumented parts of other libraries, one file a library (`optimizers/training/trl_seams.py`: TRL)."""

"""The tables of the MCR paper, each as one command: `python -m gmner.paper TABLE`."""

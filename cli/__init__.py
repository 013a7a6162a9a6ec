"""The command line `gmner`: thin over the functions of the library."""

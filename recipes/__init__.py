"""How what ships with the package was made; not in the wheel."""

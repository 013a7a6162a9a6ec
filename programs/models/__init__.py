"""From a name or a folder to a model that can run: weights, processors, families, the hub."""

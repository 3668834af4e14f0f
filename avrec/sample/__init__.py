"""The embedded catalogue: clips made on the spot and simulated listeners, said to be simulated."""

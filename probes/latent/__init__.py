"""Is it already there?  Strategies, linear probes, sweeps, directions and steering from base activations alone."""

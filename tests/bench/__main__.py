"""``make bench``: every bench of the project, one after the other."""

from tests.bench import activations, mixing, probes, steering, weights

if __name__ == "__main__":
    activations.main([])
    probes.main([])
    steering.main()
    mixing.main()
    weights.main([])

"""``make bench``: every bench of the project, one after the other."""

from tests.bench import activations

if __name__ == "__main__":
    activations.main()

"""``make bench``: every bench of the project, one after the other."""

from tests.bench import activations, mixing, steering

if __name__ == "__main__":
    activations.main()
    steering.main()
    mixing.main()

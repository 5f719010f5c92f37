"""``make bench``: every bench of the project; ``make bench MODEL=smollm2``: those of a model, on the real one."""

import os
import sys

from tests.bench import activations, mixing, probes, steering, weights

if __name__ == "__main__":
    model = os.environ.get("MODEL", "")
    if model == "smollm2":
        activations.main(["--only", "smollm2"])
        steering.main(["--only", "smollm2"])
        mixing.main(["--only", "smollm2-js", "--only", "smollm2-entropy"])
    elif model:
        sys.exit(f"There are no benches of {model!r}; leave MODEL out, or name smollm2.")
    else:
        activations.main([])
        probes.main([])
        steering.main([])
        mixing.main([])
        weights.main([])

"""The weights that the golden files were made with: large kernels come from a hash function, the rest from the files.

A golden file `golden/NAME.npz` holds
  seed, hash_keys, scales, kernels: of each kernel made by the hash function, its key, range and published name;
  small: all other variables, one after another in the order of their names;
  PHOTO/TENSOR: what the published graph computes for a photo (see `make_golden.py`).
"""

import hashlib
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden"


def hashed_uniform(seed: int, key: str, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """float32 numbers in [-scale, scale): splitmix64, started at a hash of seed and key; the same on every machine."""
    counter = np.arange(1, np.prod(shape, dtype=np.int64) + 1, dtype=np.uint64)
    first = int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:8], "little")
    bits = counter * np.uint64(0x9E3779B97F4A7C15) + np.uint64(first)  # arithmetic modulo 2 ** 64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    unit = (bits >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)  # 24 bits: exact in float32
    return (unit * np.float32(scale)).reshape(shape)


def golden_variables(golden, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Published name -> array, for every variable of a network.

    Args:
      golden: an open golden file.
      shapes: published name -> shape, from `weights.needed_variables`.
    """
    variables = {
        str(name): hashed_uniform(int(golden["seed"]), str(key), shapes[str(name)], scale)
        for name, key, scale in zip(golden["kernels"], golden["hash_keys"], golden["scales"], strict=True)
    }
    small = golden["small"]
    for name in sorted(set(shapes) - set(variables)):
        size = int(np.prod(shapes[name]))
        variables[name], small = small[:size].reshape(shapes[name]), small[size:]
    assert not small.size
    return variables


def golden_tensors(golden, photo: str) -> dict[str, np.ndarray]:
    """What the published graph computes for a photo: name -> array."""
    return {key.removeprefix(f"{photo}/"): array for key, array in golden.items() if key.startswith(f"{photo}/")}

"""Random choices, made of uniform numbers alone.

NumPy may change how a generator's other methods use its bits (NEP 19).
"""

import numpy as np


def subset(total: int, count: int, rng: np.random.Generator) -> np.ndarray:
  """`count` different numbers below `total`, ascending; all sets alike."""
  if count == 0:
    return np.empty(0, np.int64)
  drawn = np.argpartition(rng.random(total), count - 1)[:count]
  return np.sort(drawn)


def integers(below: int, count: int, rng: np.random.Generator) -> np.ndarray:
  """`count` numbers, each any below `below`."""
  return (rng.random(count) * below).astype(np.int64)

"""The rest of a text from its beginning, which is read in both directions."""

import dataclasses
import sys

import numpy as np


@dataclasses.dataclass(frozen=True)
class Prefix:
  """The source is a piece's beginning, the target is what follows it.

  Of L tokens the first 1 to L - 1 are the source, all alike (Raffel et al.
  2020, section 3.2.1; t5.data.preprocessors, `random_prefix_noise_mask`); of a
  single one, that one. Unlike T5's, the target goes on to the token after the
  piece, so that it ends with a separator only where the document does.
  """

  max_length: int = dataclasses.field(default=sys.maxsize, init=False)

  def sizes(self, length: int, u: float) -> tuple[int, int]:
    source = 1 + int(u * (length - 1))
    return source, length + 1 - source

  def extremes(self, length: int) -> tuple[tuple[int, int], ...]:
    return (1, length), (max(1, length - 1), min(2, length))

  def divide(
    self, piece: np.ndarray, u: float, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray]:
    del rng
    source, _ = self.sizes(len(piece) - 1, u)
    return piece[:source], piece[source:]

  def join(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.concatenate([source, target[:-1]])

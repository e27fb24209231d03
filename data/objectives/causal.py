"""Each token from those before it (Radford et al. 2018, section 3.1)."""

import dataclasses
import sys

import numpy as np

from data.objectives.base import Example


@dataclasses.dataclass(frozen=True)
class Causal:
  """The objective of a decoder: at each place, the token that follows."""

  keeps_length: bool = dataclasses.field(default=True, init=False)
  max_length: int = dataclasses.field(default=sys.maxsize, init=False)

  def sizes(self, length: int, u: float) -> tuple[int, int]:
    del u
    return 0, length

  def extremes(self, length: int) -> tuple[tuple[int, int], ...]:
    return ((0, length),)

  def example(
    self, piece: np.ndarray, u: float, rng: np.random.Generator
  ) -> Example:
    del u, rng
    return next_tokens(piece.astype(np.int32))

  def original(self, example: Example) -> np.ndarray:
    return example.tokens


def next_tokens(tokens_L1: np.ndarray) -> Example:
  """Of int32 tokens, each but the last is read, each but the first learnt."""
  length = len(tokens_L1) - 1
  return Example(tokens_L1[:-1], tokens_L1[1:], np.ones(length, np.float32))

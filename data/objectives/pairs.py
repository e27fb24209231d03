"""A source and the target written from it, for a decoder or for two stacks.

Raffel et al. 2020 (section 3.2.1) show both: an encoder reads the source and a
decoder writes the target, or one decoder has the source as its prefix.
"""

import dataclasses
from typing import Protocol

import numpy as np

from data.objectives.base import Example


class Denoiser(Protocol):
  """Divides a piece of L tokens into a source and a target.

  `u` and `rng` are as in `Objective`.
  """

  @property
  def max_length(self) -> int:
    """L of the longest piece that there are special tokens for."""

  def sizes(self, length: int, u: float) -> tuple[int, int]:
    """Tokens of the source and of the target, each at least 1."""

  def extremes(self, length: int) -> tuple[tuple[int, int], ...]:
    """Sizes of some u: the largest source, target and sum among them."""

  def divide(
    self, piece: np.ndarray, u: float, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray]:
    """Source and target of a piece of int32 [L + 1]."""

  def join(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The L tokens of the piece again."""


@dataclasses.dataclass(frozen=True)
class Pairs:
  """The objective of writing the targets of a denoiser; all have weight 1.

  Two stacks read the source of S tokens, and of the T tokens of the target all
  but the last, after `start_id`. A decoder reads both in a row of S + T - 1
  tokens, since the last one is a target only; all of the source may be seen
  from everywhere, and none of it is learnt.

  Attributes:
    denoiser: of pieces.
    start_id: what the second of two stacks reads first; None for a decoder.
  """

  denoiser: Denoiser
  start_id: int | None
  keeps_length: bool = dataclasses.field(default=False, init=False)

  @property
  def max_length(self) -> int:
    return self.denoiser.max_length

  def sizes(self, length: int, u: float) -> tuple[int, int]:
    return self._laid_out(*self.denoiser.sizes(length, u))

  def extremes(self, length: int) -> tuple[tuple[int, int], ...]:
    return tuple(
      self._laid_out(*sizes) for sizes in self.denoiser.extremes(length)
    )

  def example(
    self, piece: np.ndarray, u: float, rng: np.random.Generator
  ) -> Example:
    source_S, target_T = self.denoiser.divide(piece.astype(np.int32), u, rng)
    if self.start_id is None:
      return _in_a_row(source_S, target_T)
    tokens_T = np.empty_like(target_T)
    tokens_T[0] = self.start_id
    tokens_T[1:] = target_T[:-1]
    weights_T = np.ones(len(target_T), np.float32)
    return Example(tokens_T, target_T, weights_T, source=source_S)

  def original(self, example: Example) -> np.ndarray:
    if example.source is not None:
      return self.denoiser.join(example.source, example.targets)
    assert example.prefix is not None
    size = int(np.count_nonzero(example.prefix))
    return self.denoiser.join(
      example.tokens[:size], example.targets[size - 1 :]
    )

  def _laid_out(self, source: int, target: int) -> tuple[int, int]:
    if self.start_id is None:
      return 0, source + target - 1
    return source, target


def _in_a_row(source_S: np.ndarray, target_T: np.ndarray) -> Example:
  row = np.concatenate([source_S, target_T])
  places = np.arange(len(row) - 1)
  # the last token of the source is where the target's first is learnt
  weights = (places >= len(source_S) - 1).astype(np.float32)
  return Example(row[:-1], row[1:], weights, prefix=places < len(source_S))

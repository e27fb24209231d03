"""What an objective is: which of a text a model reads, and what it learns."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from configs.errors import UserError, choose

KINDS = ('causal', 'prefix', 'masked', 'spans', 'ul2', 'middle')
KEEP_LENGTH = ('causal', 'masked')


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
  """The `data.objective` section; configs/pretrain.py tells of its keys."""

  kind: str = 'causal'
  noise_density: float = 0.15
  mean_span: float = 3.0
  whole_words: bool = False
  static: bool = False
  middle_rate: float = 0.5

  def validate(self) -> None:
    """Raises UserError for a value that cannot work."""
    choose('data.objective.kind', self.kind, KINDS)
    if not 0 < self.noise_density < 1:
      raise UserError(
        f'data.objective.noise_density = {self.noise_density}: a share of the '
        'tokens, above 0 and below 1'
      )
    if not 1 <= self.mean_span < math.inf:
      raise UserError(
        f'data.objective.mean_span = {self.mean_span}: at least 1 token'
      )
    if not 0 <= self.middle_rate <= 1:
      raise UserError(
        f'data.objective.middle_rate = {self.middle_rate}: a share of the '
        'documents, from 0 to 1'
      )
    if self.whole_words and self.kind != 'masked':
      raise UserError(
        'data.objective.whole_words = True: goes with data.objective.kind = '
        f"'masked', not {self.kind!r}"
      )


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
  """What an objective needs of a tokenizer.

  Attributes:
    size: number of ids, special ones included.
    separator_id: begins every document, and follows its last token.
    ordinary: int32 ids that text is made of, at least one.
    starts_word_V: bool, for each id whether a word begins with it.
    ids: of the special tokens, by spelling; no text has them.
  """

  size: int
  separator_id: int
  ordinary: np.ndarray
  starts_word_V: np.ndarray
  ids: Mapping[str, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
  """What a model reads and learns of one piece of text.

  Attributes:
    tokens: int32 [T], what the only stack reads, or the second of two.
    targets: int32 [T].
    weights: float32 [T], 0 where nothing is learnt.
    prefix: bool [T], true where every token may look; None = nowhere.
    source: int32 [S], what the encoder beside a decoder reads; None = none.
  """

  tokens: np.ndarray
  targets: np.ndarray
  weights: np.ndarray
  prefix: np.ndarray | None = None
  source: np.ndarray | None = None


class Objective(Protocol):
  """Makes examples of pieces of text, one from each.

  A piece of L tokens starts with the separator where its document does, and has
  no other. It comes with the token after it, which is the separator where the
  document ends. An example is a function of the piece, u and the state of
  `rng`, and of nothing else.
  """

  @property
  def keeps_length(self) -> bool:
    """Whether T = L and S = 0 always.

    Then a row of several documents, with their separators but without padding,
    can be a piece, too.
    """

  @property
  def max_length(self) -> int:
    """L of the longest piece that there are special tokens for."""

  def sizes(self, length: int, u: float) -> tuple[int, int]:
    """(S, T) of the example that is made of a piece.

    Args:
      length: L, at least 1.
      u: in [0, 1), belongs to the piece; decides all that sizes depend on.
    """

  def extremes(self, length: int) -> tuple[tuple[int, int], ...]:
    """Sizes (S, T) of some u, the largest S and the largest T among them."""

  def example(
    self, piece: np.ndarray, u: float, rng: np.random.Generator
  ) -> Example:
    """The example that is made of a piece.

    Args:
      piece: integers of shape L + 1; the last is a target at most.
      u: as in `sizes`.
      rng: seeded for this example.
    """

  def original(self, example: Example) -> np.ndarray:
    """The L tokens of the piece that an example was made of, as int32."""

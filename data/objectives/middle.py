"""The middle of a text from both of its sides (Bavarian et al. 2022)."""

import dataclasses
import sys

import numpy as np

from data.objectives import sampling
from data.objectives.base import Example, Vocabulary
from data.objectives.causal import next_tokens

MARKS = ('<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>')


@dataclasses.dataclass(frozen=True, eq=False)
class Middle:
  """The objective of a decoder that some pieces are rearranged for.

  A piece whose u is below `rate` is cut at two places into prefix, middle and
  suffix, each of which may be empty: either place is drawn from all there are.
  It is then put together, with equal probability, as one of (PSM of section 3,
  and the variant of SPM in section 3.1 and appendix D that goes along with it,
  arXiv:2207.14255)

    <|fim_prefix|> prefix <|fim_suffix|> suffix <|fim_middle|> middle
    <|fim_prefix|> <|fim_suffix|> suffix <|fim_middle|> prefix middle

  after the separator, if it has one, and a separator is learnt after the
  middle. The loss is over all tokens, as in the paper. The paper cuts between
  characters, before tokenizing; here cuts are between tokens, so that sizes are
  known, and a model learns nothing of middles that begin or end within a token.
  Any other piece is as in `Causal`.

  Attributes:
    rate: share of pieces.
    vocabulary: has `MARKS`.
  """

  rate: float
  vocabulary: Vocabulary
  keeps_length: bool = dataclasses.field(default=False, init=False)
  max_length: int = dataclasses.field(default=sys.maxsize, init=False)

  def sizes(self, length: int, u: float) -> tuple[int, int]:
    return 0, length + len(MARKS) * (u < self.rate)

  def extremes(self, length: int) -> tuple[tuple[int, int], ...]:
    return (self.sizes(length, 0),)

  def example(
    self, piece: np.ndarray, u: float, rng: np.random.Generator
  ) -> Example:
    piece = piece.astype(np.int32)
    if u >= self.rate:
      return next_tokens(piece)
    separator = self.vocabulary.separator_id
    mark, suffix_mark, middle_mark = self._marks()
    begin = int(piece[0] == separator)
    head, text = piece[:begin], piece[begin:-1]
    cuts = np.sort(sampling.integers(len(text) + 1, 2, rng))
    prefix, middle, suffix = np.split(text, cuts)
    parts: tuple[np.ndarray | list[int], ...]
    if rng.random() < 0.5:
      parts = [mark], prefix, [suffix_mark], suffix, [middle_mark], middle
    else:
      parts = [mark, suffix_mark], suffix, [middle_mark], prefix, middle
    return next_tokens(
      np.concatenate([head, *parts, [separator]], dtype=np.int32)
    )

  def original(self, example: Example) -> np.ndarray:
    tokens = example.tokens
    first, suffix, middle = self._marks()
    if first not in tokens:
      return tokens
    begin, suffix_at, middle_at = (
      int(np.argmax(tokens == mark)) for mark in (first, suffix, middle)
    )
    return np.concatenate(
      [
        tokens[:begin],
        tokens[begin + 1 : suffix_at],
        tokens[middle_at + 1 :],
        tokens[suffix_at + 1 : middle_at],
      ]
    )

  def _marks(self) -> list[int]:
    return [self.vocabulary.ids[mark] for mark in MARKS]

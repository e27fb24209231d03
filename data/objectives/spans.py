"""Spans of tokens from what is left around them (T5).

Raffel et al. 2020, section 3.1.4 and github.com/google-research/
text-to-text-transfer-transformer, t5/data/preprocessors.py,
`random_spans_noise_mask`.
"""

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Mapping

import numpy as np

from configs.errors import UserError
from data.objectives import sampling


@dataclasses.dataclass(frozen=True)
class SpanNoise:
  """How much of a piece is noise, and in how many spans.

  Attributes:
    density: share of tokens.
    mean_span: tokens.
  """

  density: float
  mean_span: float

  def counts(self, length: int) -> tuple[int, int]:
    """Tokens of noise and spans of noise in a piece of L tokens.

    noise = round(density * L), at least 1 and at most L - 1
    spans = round(noise / mean_span), at least 1 and at most L - noise

    A piece of one token, which nothing can be left around, has none.
    """
    if length < 2:
      return 0, 0
    noise = min(max(round(length * self.density), 1), length - 1)
    # the last bound, which T5 leaves out, matters where most is noise
    return noise, min(max(round(noise / self.mean_span), 1), length - noise)


def sentinel(index: int) -> str:
  """What stands for the span of this index, from 0."""
  return f'<extra_id_{index}>'


def known_sentinels(ids: Mapping[str, int]) -> np.ndarray:
  """Ids of the sentinels from 0 on, up to the first that is missing."""
  names = map(sentinel, itertools.count())
  known = itertools.takewhile(ids.__contains__, names)
  return np.array([ids[name] for name in known], np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class Spans:
  """Takes spans of noise out of a piece.

  Lengths of the spans of noise are drawn so that all ways to cut the noise into
  that many parts are alike, and so are those of the spans between, which are as
  many and come first. The piece's first token is therefore always left, and so
  the separator, which counts among the L tokens like any other. The last token
  is always noise, and a single span is always the end of the piece: up to 30
  tokens, at 15% and 3.

  The source is the piece with one sentinel in place of each span; the target is
  each sentinel and the span it stands for, and then the separator. Of a piece
  of one token, the source is that token and the target the separator: nothing
  is missing.

  T5 ends the source, too, and counts that as a token. What it calls inputs of
  512 and targets of 114 tokens, made of 568, are 511 and 114 here.

  Attributes:
    noise: how much and how many.
    sentinels: int32 ids, in the order of use.
    separator_id: ends the target.
  """

  noise: SpanNoise
  sentinels: np.ndarray
  separator_id: int

  @functools.cached_property
  def max_length(self) -> int:
    known = len(self.sentinels)
    # the first length that needs more
    after = bisect.bisect(
      range(2**40), known, key=lambda length: self.noise.counts(length)[1]
    )
    return after - 1

  def sizes(self, length: int, u: float) -> tuple[int, int]:
    del u
    noise, spans = self.noise.counts(length)
    return length - noise + spans, noise + spans + 1

  def extremes(self, length: int) -> tuple[tuple[int, int], ...]:
    return (self.sizes(length, 0),)

  def divide(
    self, piece: np.ndarray, u: float, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray]:
    """As `Denoiser.divide`.

    Raises:
      UserError: there are fewer sentinels than spans.
    """
    del u
    tokens_L = piece[:-1]
    noise, spans = self.noise.counts(len(tokens_L))
    if spans > len(self.sentinels):
      raise UserError(
        f'a piece of {len(tokens_L)} tokens needs {spans} sentinels, and the '
        f'tokenizer has {len(self.sentinels)}, up to '
        f'{sentinel(len(self.sentinels) - 1)}: lower data.sequence_length to '
        f'{self.max_length}, or take another tokenizer'
      )
    if not spans:
      return tokens_L, np.array([self.separator_id], np.int32)
    kept_P = _cut(len(tokens_L) - noise, spans, rng)
    noise_P = _cut(noise, spans, rng)
    sentinels_P = self.sentinels[:spans]
    lengths_2P = np.stack([kept_P, noise_P], axis=1).ravel()
    is_noise_L = np.repeat(np.arange(2 * spans) % 2 == 1, lengths_2P)
    # a sentinel takes the place of the first token of its span
    starts_P = np.cumsum(lengths_2P)[::2]
    marked_L = tokens_L.copy()
    marked_L[starts_P] = sentinels_P
    stays_L = ~is_noise_L
    stays_L[starts_P] = True
    places_P = np.cumsum(noise_P) - noise_P
    spans_T = np.insert(tokens_L[is_noise_L], places_P, sentinels_P)
    return marked_L[stays_L], np.append(spans_T, np.int32(self.separator_id))

  def join(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    left = self._split(source)
    spans = self._split(target[:-1])
    # what is before a sentinel has none itself, what is after it starts with it
    parts = [left[0]]
    for span, kept in zip(spans[1:], left[1:], strict=True):
      parts += [span[1:], kept[1:]]
    return np.concatenate(parts)

  def _split(self, tokens: np.ndarray) -> list[np.ndarray]:
    return np.split(tokens, np.flatnonzero(np.isin(tokens, self.sentinels)))


def _cut(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
  """Lengths of so many parts, each at least 1; all ways to cut are alike."""
  cuts = sampling.subset(total - 1, parts - 1, rng) + 1
  return np.diff(cuts, prepend=0, append=total)

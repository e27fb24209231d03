"""Several denoisers in one objective (UL2: Tay et al. 2022, section 3.1)."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from data.objectives.pairs import Denoiser
from data.objectives.prefix import Prefix
from data.objectives.spans import SpanNoise, Spans

# Section 3.1.3. The published checkpoints spell them [NLU], [NLG], [S2S].
REGULAR, EXTREME, SEQUENTIAL = MODES = ('[R]', '[X]', '[S]')

# Table 1, where the R-denoiser has two settings and the X-denoiser four.
SPAN_NOISE = (
  (REGULAR, SpanNoise(0.15, 3)),
  (REGULAR, SpanNoise(0.15, 8)),
  (EXTREME, SpanNoise(0.5, 3)),
  (EXTREME, SpanNoise(0.5, 8)),
  (EXTREME, SpanNoise(0.15, 64)),
  (EXTREME, SpanNoise(0.5, 64)),
)


@dataclasses.dataclass(frozen=True)
class Mixture:
  """One of several denoisers for each piece; all are alike likely.

  Of k denoisers, u belongs to number floor(k u), which is given k u - floor(k
  u) as its own. The source starts with the token of the denoiser's mode, before
  the separator.

  Attributes:
    parts: ids of modes, and denoisers.
  """

  parts: tuple[tuple[int, Denoiser], ...]

  @property
  def max_length(self) -> int:
    return min(denoiser.max_length for _, denoiser in self.parts)

  def sizes(self, length: int, u: float) -> tuple[int, int]:
    _, denoiser, rest = self._part(u)
    return _with_mode(*denoiser.sizes(length, rest))

  def extremes(self, length: int) -> tuple[tuple[int, int], ...]:
    return tuple(
      _with_mode(*sizes)
      for _, denoiser in self.parts
      for sizes in denoiser.extremes(length)
    )

  def divide(
    self, piece: np.ndarray, u: float, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray]:
    mode, denoiser, rest = self._part(u)
    source_S, target_T = denoiser.divide(piece, rest, rng)
    return np.concatenate([np.array([mode], np.int32), source_S]), target_T

  def join(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    # those of one mode join alike
    denoiser = dict(self.parts)[int(source[0])]
    return denoiser.join(source[1:], target)

  def _part(self, u: float) -> tuple[int, Denoiser, float]:
    scaled = u * len(self.parts)
    index = int(scaled)
    mode, denoiser = self.parts[index]
    return mode, denoiser, scaled - index


def ul2(
  ids: Mapping[str, int], sentinels: np.ndarray, separator_id: int
) -> Mixture:
  """The seven denoisers of UL2, with equal shares.

  The S-denoiser divides a piece at any place alike, as in the paper's own code
  (appendix 9.2, which takes T5's prefix-LM), where its Table 1 gives the target
  a quarter of the piece on average.

  Args:
    ids: of `MODES`.
    sentinels: as in `Spans`.
    separator_id: as in `Spans`.
  """
  parts: list[tuple[int, Denoiser]] = [
    (ids[mode], Spans(noise, sentinels, separator_id))
    for mode, noise in SPAN_NOISE
  ]
  return Mixture((*parts, (ids[SEQUENTIAL], Prefix())))


def _with_mode(source: int, target: int) -> tuple[int, int]:
  return source + 1, target

"""Some tokens from all others (Devlin et al. 2019, section 3.1)."""

import dataclasses
import sys

import numpy as np

from data.objectives import sampling
from data.objectives.base import Example, Vocabulary

MASK = '[MASK]'
_MASKED, _REPLACED = 0.8, 0.1  # of the chosen places; the rest are left alone


@dataclasses.dataclass(frozen=True, eq=False)
class Masked:
  """The objective of an encoder: what stood at the chosen places.

  Of m tokens that are no separators, round(density * m) are chosen, at least
  one where there are any; all such sets are alike. (Halves are rounded to the
  even number, here and elsewhere.) A chosen token is replaced by [MASK] with
  probability 0.8, by a random ordinary token with 0.1 (which may be the same),
  and left alone with 0.1. Targets are the tokens as they were, at every place,
  and weights are 1 at the chosen places.

  With `whole_words`, words are chosen in a random order, and with a word all of
  its tokens; a word that would go beyond the number above is passed over. So
  the number may be missed by less than the words passed over are long. Where no
  word is short enough, the first one is chosen. (This is how BERT's later
  checkpoints were made, github.com/google-research/bert.)

  Attributes:
    density: share of tokens.
    whole_words: whether the tokens of a word are chosen together.
    vocabulary: has [MASK].
  """

  density: float
  whole_words: bool
  vocabulary: Vocabulary
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
    del u
    targets_L = piece[:-1].astype(np.int32)
    chosen_K = self._choose(targets_L, rng)
    tokens_L = targets_L.copy()
    tokens_L[chosen_K] = self._noise(targets_L[chosen_K], rng)
    weights_L = np.zeros(len(targets_L), np.float32)
    weights_L[chosen_K] = 1
    return Example(tokens_L, targets_L, weights_L)

  def original(self, example: Example) -> np.ndarray:
    return example.targets

  def _choose(
    self, tokens_L: np.ndarray, rng: np.random.Generator
  ) -> np.ndarray:
    places_M = np.flatnonzero(tokens_L != self.vocabulary.separator_id)
    if not len(places_M):
      return places_M
    count = max(1, round(self.density * len(places_M)))
    if not self.whole_words:
      return places_M[sampling.subset(len(places_M), count, rng)]
    starts_M = self.vocabulary.starts_word_V[tokens_L[places_M]]
    # a document's first token begins a word, however it is spelled
    starts_M = starts_M | (np.diff(places_M, prepend=-2) > 1)
    words_M = np.cumsum(starts_M) - 1
    return places_M[_some_words(np.bincount(words_M), count, rng)[words_M]]

  def _noise(
    self, tokens_K: np.ndarray, rng: np.random.Generator
  ) -> np.ndarray:
    ordinary = self.vocabulary.ordinary
    fate_K = rng.random(len(tokens_K))
    random_K = ordinary[sampling.integers(len(ordinary), len(tokens_K), rng)]
    replaced_K = np.where(fate_K < _MASKED + _REPLACED, random_K, tokens_K)
    return np.where(fate_K < _MASKED, self.vocabulary.ids[MASK], replaced_K)


def _some_words(
  lengths_W: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
  """Which words, as bool [W], to choose so that they have `count` tokens."""
  chosen_W = np.zeros(len(lengths_W), bool)
  turns_W = rng.random(len(lengths_W))
  # Words come in the order of their turns. All are taken up to the first that
  # does not fit; as each has a token, `count` of them are enough to meet it.
  head = np.argpartition(turns_W, min(count, len(turns_W)) - 1)[:count]
  head = head[np.argsort(turns_W[head], kind='stable')]
  ends = np.cumsum(lengths_W[head])
  taken = int(np.searchsorted(ends, count, side='right'))
  chosen_W[head[:taken]] = True
  gap = count - int(ends[taken - 1] if taken else 0)
  turn = turns_W[head[taken]] if gap else 1.0
  while gap:
    fitting = np.flatnonzero((turns_W > turn) & (lengths_W <= gap))
    if not len(fitting):
      break
    word = fitting[np.argmin(turns_W[fitting])]
    chosen_W[word] = True
    turn = turns_W[word]
    gap -= int(lengths_W[word])
  if gap == count:
    chosen_W[head[0]] = True
  return chosen_W

"""How much of some texts stands in others, by shared word n-grams.

Brown et al. 2020 ("Language Models are Few-Shot Learners", appendix C) take an
evaluation text for contaminated where a 13-gram of it is in the training text;
here its share of such n-grams is told too. Words are those of `data.shingles`:
lower-cased, without punctuation. An evaluation text below n words is one gram,
of all of them, sought at every place of the training texts; one below
`MIN_WORDS`, or below n where that is less, is too short to tell and has none.

Suffixes: E evaluation texts, T training texts, W their words, G distinct grams
of evaluation texts, H places there where a gram begins, P places found.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from configs.errors import UserError
from data.shingles import Chunk, chunks, from_lengths, grams

N = 13
MIN_WORDS = 8  # the shortest n-grams that Brown et al. match

_SIEVE_BITS = 4, 26  # places for every gram as powers of two, and at most


@dataclasses.dataclass(frozen=True)
class NgramOverlap:
  """What evaluation texts share with training texts.

  Attributes:
    num_grams: (E,) int64, n-grams of each, with repetitions.
    num_found: (E,) int64, those of them that are in a training text.
    place: (E,) int64, the word where the first one found begins; -1 if none.
    train: (E,) int64, the first training text that holds it; -1 if none.
  """

  num_grams: np.ndarray
  num_found: np.ndarray
  place: np.ndarray
  train: np.ndarray

  @property
  def share(self) -> np.ndarray:
    """(E,) float64, `num_found / num_grams`; 0 where there are no grams."""
    return self.num_found / np.maximum(self.num_grams, 1)


def ngram_contamination(
  train_texts: Iterable[str], eval_texts: Iterable[str], n: int = N
) -> NgramOverlap:
  """Which n-grams of the evaluation texts occur in the training texts.

  Args:
    train_texts: read once and not held.
    eval_texts: read once; 24 bytes a word of theirs are held.
    n: words of a gram.

  Raises:
    UserError: an n below 1.
  """
  index = NgramIndex(eval_texts, n)
  for chunk in chunks(train_texts):
    index.add(chunk)
  return index.overlap()


class NgramIndex:
  """The n-grams of evaluation texts, and which training texts hold them.

  Two different grams pass for one with a probability of some 2^-62: between a
  million of them and 10^12 of the training text, that happens once in five.
  """

  def __init__(self, eval_texts: Iterable[str], n: int = N):
    """Reads the texts once; `n` is the words of a gram.

    Raises:
      UserError: an n below 1.
    """
    if n < 1:
      raise UserError(f'n = {n}: an n-gram has at least 1 word')
    values = [np.zeros(0, np.uint64)]
    counts = [np.zeros(0, np.int64)]
    sizes = {n}
    for chunk in chunks(eval_texts):
      lengths_E = chunk.words.lengths_T
      told_E = lengths_E >= min(MIN_WORDS, n)
      found = grams(chunk.words, n)
      values.append(found.values[np.repeat(told_E, found.lengths_T)])
      counts.append(np.where(told_E, found.lengths_T, 0))
      sizes.update(np.minimum(lengths_E[told_E], n).tolist())
    self._offsets = from_lengths(np.concatenate(counts))
    self._grams_G, self._gram_H = np.unique(
      np.concatenate(values), return_inverse=True
    )
    self._sizes = sorted(sizes)
    # most training grams are told apart by a look at few bits of their hash
    extra, most = _SIEVE_BITS
    bits = min(len(self._grams_G).bit_length() + extra, most)
    self._shift = np.uint64(64 - bits)
    self._sieve = np.zeros(2**bits, bool)
    self._sieve[self._grams_G >> self._shift] = True
    self._train_G = np.full(len(self._grams_G), -1)

  def add(self, chunk: Chunk) -> np.ndarray:
    """Notes which grams the training texts of a chunk hold.

    Returns:
      How many words of each text are part of such a gram, (T,) int64.
    """
    words = chunk.words
    depth_W = np.zeros(len(words.values) + 1, np.int64)
    for size in self._sizes:
      found = grams(words, size)
      word_P, gram_P = self._look_up(found.values)
      text_P = np.searchsorted(found.offsets, word_P, 'right') - 1
      is_whole_P = words.lengths_T[text_P] >= size  # see `grams`
      word_P, gram_P, text_P = (
        each[is_whole_P] for each in (word_P, gram_P, text_P)
      )
      word_P += (words.offsets - found.offsets)[text_P]
      depth_W[word_P] += 1
      depth_W[word_P + size] -= 1
      self._note(gram_P, chunk.first + text_P)
    is_covered_W = np.cumsum(depth_W[:-1]) > 0
    return np.add.reduceat(is_covered_W, words.offsets[:-1], dtype=np.int64)

  def overlap(self) -> NgramOverlap:
    """What has been found so far."""
    num_grams_E = np.diff(self._offsets)
    train_H = self._train_G[self._gram_H]
    found_H = np.flatnonzero(train_H >= 0)
    text_H = np.repeat(np.arange(len(num_grams_E)), num_grams_E)[found_H]
    texts, first = np.unique(text_H, return_index=True)
    place_E = np.full(len(num_grams_E), -1)
    train_E = place_E.copy()
    place_E[texts] = found_H[first] - self._offsets[texts]
    train_E[texts] = train_H[found_H[first]]
    num_found_E = np.bincount(text_H, minlength=len(num_grams_E))
    return NgramOverlap(num_grams_E, num_found_E, place_E, train_E)

  def _look_up(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of those that are in the index, and which grams they are."""
    if not len(self._grams_G):
      return np.zeros(0, np.int64), np.zeros(0, np.int64)
    place_P = np.flatnonzero(self._sieve[values >> self._shift])
    gram_P = np.searchsorted(self._grams_G, values[place_P])
    gram_P[gram_P == len(self._grams_G)] = 0
    is_in_P = self._grams_G[gram_P] == values[place_P]
    return place_P[is_in_P], gram_P[is_in_P]

  def _note(self, grams_P: np.ndarray, texts_P: np.ndarray) -> None:
    """Keeps the first training text of each gram; texts ascend."""
    grams, first = np.unique(grams_P, return_index=True)
    is_new = self._train_G[grams] < 0
    self._train_G[grams[is_new]] = texts_P[first[is_new]]

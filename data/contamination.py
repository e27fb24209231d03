"""Evaluation texts that stand in the training text, whole, nearly or in parts.

One pass over the training texts looks for all three: equal texts, texts whose
Jaccard similarity reaches a threshold (`data.near_index`), and n-grams
(`data.ngrams`). Only the texts of the evaluation side are held.

Suffixes: E texts of one evaluation set, T training texts.
"""

import dataclasses
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from data.duplicates import digest, normalize
from data.near_index import (
  CANDIDATES,
  MEMORY,
  THRESHOLD,
  Matches,
  NearIndex,
  first_equal,
)
from data.ngrams import N, NgramIndex, NgramOverlap
from data.shingles import (
  Chunk,
  chunks,
  fingerprints,
  from_lengths,
  shingle_sets,
)

SHARE = 0.7  # of the n-grams of a text: that of PaLM, of 8-grams there

log = logging.getLogger(__name__)

EXACT, NEAR, NGRAM = KINDS = ('exact', 'near', 'ngram')


@dataclasses.dataclass(frozen=True)
class Contamination:
  """What one evaluation set has in common with the training texts.

  Attributes:
    exact: (E,) int64, the first training text that is equal (as
      `duplicates.normalize` leaves both); -1 where there is none.
    near: (E,) int64, the most similar training text at or above the threshold,
      the first of several; -1 where there is none.
    jaccard: (E,) float64, of that pair; 0 where there is none.
    ngrams: which of the n-grams were found.
  """

  exact: np.ndarray
  near: np.ndarray
  jaccard: np.ndarray
  ngrams: NgramOverlap

  def kinds(self, share: float = SHARE) -> dict[str, np.ndarray]:
    """(E,) bool for each of `KINDS`; n-grams count from `share` of a text.

    Chowdhery et al. 2022 ("PaLM", section 8) take a text for contaminated from
    70% of its n-grams; Brown et al. 2020 from a single one.
    """
    return {
      EXACT: self.exact >= 0,
      NEAR: self.near >= 0,
      NGRAM: (self.ngrams.num_found > 0) & (self.ngrams.share >= share),
    }


@dataclasses.dataclass(frozen=True)
class Leaks:
  """What each training text has in common with any of the evaluation texts.

  Attributes:
    exact: (T,) bool, whether it is equal to one.
    jaccard: (T,) float64, similarity to the nearest at or above the threshold;
      0 where there is none.
    covered: (T,) float64, the share of its words that are part of an n-gram of
      evaluation texts.
  """

  exact: np.ndarray
  jaccard: np.ndarray
  covered: np.ndarray

  def leaking(self, share: float = SHARE) -> np.ndarray:
    """(T,) bool: equal, near, or `share` of the words and more covered."""
    is_covered_T = (self.covered > 0) & (self.covered >= share)
    return self.exact | (self.jaccard > 0) | is_covered_T


def find_contamination(
  train_texts: Iterable[str],
  evaluations: Mapping[str, Sequence[str]],
  *,
  threshold: float = THRESHOLD,
  n: int = N,
  memory: int = MEMORY,
  folder: Path | None = None,
) -> tuple[dict[str, Contamination], Leaks]:
  """Compares training texts with every evaluation set, in one pass.

  It warns where near-duplicates may be missed, because so many evaluation
  texts are much alike (see `near_index.CANDIDATES`).

  Args:
    train_texts: read once; 17 bytes of each are held, and not the text.
    evaluations: the texts of each set, by its name.
    threshold: Jaccard similarity of near-duplicates.
    n: words of an n-gram.
    memory: bytes of the index of near-duplicates to hold in memory.
    folder: for what is above that; None for the system's temporary folder.

  Returns:
    What was found of each set, by its name, and of each training text.

  Raises:
    UserError: a threshold that is no similarity above 0, or an n below 1.
  """

  def eval_texts() -> Iterable[str]:
    return itertools.chain.from_iterable(evaluations.values())

  exact = _ExactIndex(eval_texts())
  near = _Nearest(
    NearIndex(eval_texts(), threshold, memory=memory, folder=folder)
  )
  ngrams = NgramIndex(eval_texts(), n)
  leaks = [Leaks(np.zeros(0, bool), np.zeros(0), np.zeros(0))]
  for chunk in chunks(train_texts):
    covered_T = ngrams.add(chunk) / chunk.words.lengths_T
    leaks.append(Leaks(exact.add(chunk), near.add(chunk), covered_T))
  near.warn()
  whole = Contamination(exact.found(), *near.found(), ngrams.overlap())
  sizes = np.array([len(texts) for texts in evaluations.values()], np.int64)
  bounds = itertools.pairwise(from_lengths(sizes))
  return {
    name: _part(whole, slice(begin, end))
    for name, (begin, end) in zip(evaluations, bounds, strict=True)
  }, _joined(leaks)


class _ExactIndex:
  """Evaluation texts by their digests, and the training texts equal to them."""

  def __init__(self, eval_texts: Iterable[str]):
    self._kinds: dict[bytes, int] = {}
    self._kind_E = [
      self._kinds.setdefault(digest(normalize(text)), len(self._kinds))
      for text in eval_texts
    ]
    self._train = np.full(len(self._kinds), -1)

  def add(self, chunk: Chunk) -> np.ndarray:
    """(T,) bool, whether each training text equals an evaluation text."""
    kind_T = np.array(
      [self._kinds.get(digest(normalize(text)), -1) for text in chunk.texts]
    )
    kinds, first = np.unique(kind_T, return_index=True)
    kinds, first = kinds[kinds >= 0], first[kinds >= 0]
    is_new = self._train[kinds] < 0
    self._train[kinds[is_new]] = chunk.first + first[is_new]
    return kind_T >= 0

  def found(self) -> np.ndarray:
    """(E,) int64, the first equal training text or -1."""
    return self._train[np.array(self._kind_E, np.int64)]


class _Nearest:
  """The most similar training text of each evaluation text, so far."""

  def __init__(self, index: NearIndex):
    self._index = index
    self._train = np.full(len(index), -1)
    self._jaccard = np.zeros(len(index))

  def add(self, chunk: Chunk) -> np.ndarray:
    """(T,) float64, similarity of each training text to its nearest, or 0."""
    sets = shingle_sets(chunk)
    texts, first_T = first_equal(fingerprints(sets))
    jaccard_T = np.zeros(len(sets))
    for found in self._index.matches(sets.take(texts)):
      query = texts[found.query]
      np.maximum.at(jaccard_T, query, found.jaccard)
      self._keep(Matches(chunk.first + query, found.indexed, found.jaccard))
    return jaccard_T[first_T]

  def found(self) -> tuple[np.ndarray, np.ndarray]:
    """Which training text it is, or -1, and its similarity, (E,) each."""
    first_E = self._index.first_T
    return self._train[first_E], self._jaccard[first_E]

  def warn(self) -> None:
    """Tells of what was not compared."""
    if self._index.num_left_out:
      log.warning(
        'near-duplicates between train and evaluation texts: up to %d pairs '
        'were not compared, since more than %d evaluation texts share a band',
        self._index.num_left_out,
        CANDIDATES,
      )

  def _keep(self, found: Matches) -> None:
    # by evaluation text, the most similar first, and of equals the first read
    order = np.lexsort((found.query, -found.jaccard, found.indexed))
    texts, first = np.unique(found.indexed[order], return_index=True)
    best = order[first]
    is_nearer = found.jaccard[best] > self._jaccard[texts]
    texts, best = texts[is_nearer], best[is_nearer]
    self._jaccard[texts] = found.jaccard[best]
    self._train[texts] = found.query[best]


def _part(whole: Contamination, texts: slice) -> Contamination:
  """One evaluation set of all."""
  ngrams = whole.ngrams
  return Contamination(
    whole.exact[texts],
    whole.near[texts],
    whole.jaccard[texts],
    NgramOverlap(
      ngrams.num_grams[texts],
      ngrams.num_found[texts],
      ngrams.place[texts],
      ngrams.train[texts],
    ),
  )


def _joined(leaks: Sequence[Leaks]) -> Leaks:
  return Leaks(
    np.concatenate([each.exact for each in leaks]),
    np.concatenate([each.jaccard for each in leaks]),
    np.concatenate([each.covered for each in leaks]),
  )

"""Which groups of people a text names, and among what words.

Counts are as in Touvron et al. 2023 (arXiv:2307.09288, section 4.1). The words
that set the surroundings of one group apart from those of the other groups on
its axis are found by log-odds with an informative Dirichlet prior (Monroe et
al. 2008, section 3.3).
"""

from collections import Counter
from typing import Any

import numpy as np

from data.audit.documents import Documents
from data.audit.mentions import Key, find_mentions, tokenize
from data.audit.terms import AXES

WINDOW = 10  # words to each side of a mention
PRIOR_WORDS = 1000.0  # what the prior weighs
# Of a word that is told:
LEAST_COUNT = 5
LEAST_LETTERS = 3
LEAST_Z = 1.96
TOLD = 10
COMMONEST = 100  # words of the text that are not told: they are grammar
MOST_WORDS = 100_000  # distinct ones that are kept of each count


def log_odds(
  count_V: np.ndarray, other_V: np.ndarray, prior_V: np.ndarray
) -> np.ndarray:
  """How much more a word is used in one text than in another, as z scores.

  With y counts, n their sums, a the prior and a0 its sum, it is d / sqrt(v):
  d = log((y1 + a) / (n1 + a0 - y1 - a)) - log((y2 + a) / (n2 + a0 - y2 - a)),
  v = 1 / (y1 + a) + 1 / (y2 + a). Monroe et al. 2008, equations 16, 20 and 22.

  Args:
    count_V: of each word in the one.
    other_V: of each word in the other.
    prior_V: pseudo-counts, above zero.
  """
  one_V, two_V = count_V + prior_V, other_V + prior_V
  delta_V = np.log(one_V / (one_V.sum() - one_V))
  delta_V -= np.log(two_V / (two_V.sum() - two_V))
  return delta_V / np.sqrt(1 / one_V + 1 / two_V)


class Representation:
  """The section 'representation' of an audit."""

  def __init__(self) -> None:
    self._all: Counter[str] = Counter()  # every word
    self._near: dict[Key, Counter[str]] = {}  # words around each group
    self._terms: dict[Key, Counter[str]] = {}  # that name it
    self._documents: Counter[Key] = Counter()
    self._totals = np.zeros(2, np.int64)  # documents, words

  def count(self, documents: Documents) -> None:
    """Adds a chunk of documents."""
    tokens = tokenize(documents.texts)
    self._totals += len(documents.texts), len(tokens.word_W)
    self._all.update(tokens.counts(np.ones(len(tokens.word_W), bool)))
    for key, mentions in find_mentions(tokens).items():
      self._documents[key] += len(np.unique(mentions.document_M))
      self._terms.setdefault(key, Counter()).update(mentions.terms)
      near_W = mentions.around(tokens, WINDOW)
      self._near.setdefault(key, Counter()).update(tokens.counts(near_W))

  def add(self, other: 'Representation') -> None:
    """Adds what another has counted."""
    self._all.update(other._all)
    _prune(self._all)
    self._documents.update(other._documents)
    self._totals += other._totals
    for key, terms in other._terms.items():
      self._terms.setdefault(key, Counter()).update(terms)
    for key, near in other._near.items():
      self._near.setdefault(key, Counter()).update(near)
      _prune(self._near[key])

  def tree(self) -> dict[str, Any]:
    """JSON-able: of each group on each axis counts, shares and words."""
    grammar = {word for word, _ in _commonest(self._all, COMMONEST)}
    return {
      'window': WINDOW,
      'axes': {
        axis: {group: self._group((axis, group), grammar) for group in groups}
        for axis, groups in AXES.items()
      },
    }

  def _group(self, key: Key, untold: set[str]) -> dict[str, Any]:
    documents, words = np.maximum(self._totals, 1).tolist()
    mentions = self._mentions(key)
    on_axis = sum(self._mentions((key[0], group)) for group in AXES[key[0]])
    return {
      'mentions': mentions,
      'share_of_axis': mentions / max(on_axis, 1),
      'per_million_words': 1e6 * mentions / words,
      'documents': self._documents[key],
      'share_of_documents': self._documents[key] / documents,
      'terms': dict(_commonest(self._terms.get(key, Counter()), TOLD)),
      'words': self._words(key, untold),
    }

  def _mentions(self, key: Key) -> int:
    return self._terms.get(key, Counter()).total()

  def _words(self, key: Key, untold: set[str]) -> list[dict[str, Any]]:
    """What is around a group more than around the others of its axis."""
    axis, own = AXES[key[0]], self._near.get(key, Counter())
    other: Counter[str] = Counter()
    for group in axis:
      if group != key[1]:
        other.update(self._near.get((key[0], group), Counter()))
    untold = untold | {
      word for group in axis.values() for t in group for word in t.split()
    }
    words = sorted(
      word
      for word in own.keys() | other.keys()
      if word not in untold and len(word) >= LEAST_LETTERS
    )
    if not own or not other or not words:
      return []
    prior_V = np.array([max(self._all[w], 1) for w in words], np.float64)
    count_V = np.array([own[w] for w in words])
    other_V = np.array([other[w] for w in words])
    z_V = log_odds(count_V, other_V, PRIOR_WORDS * prior_V / prior_V.sum())
    z_V[count_V < LEAST_COUNT] = -np.inf
    return [
      {'word': words[i], 'z': float(z_V[i]), 'count': int(count_V[i])}
      for i in np.argsort(-z_V, kind='stable')[:TOLD]
      if z_V[i] >= LEAST_Z
    ]


def _commonest(counts: Counter[str], most: int) -> list[tuple[str, int]]:
  """As Counter.most_common, with equal counts in the order of the words."""
  return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]


def _prune(counts: Counter[str]) -> None:
  """Forgets the rarest words once there are twice as many as are kept."""
  if len(counts) > 2 * MOST_WORDS:
    kept = dict(_commonest(counts, MOST_WORDS))
    counts.clear()
    counts.update(kept)

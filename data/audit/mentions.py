"""Where the groups of `data.audit.terms` are named."""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from data.audit.terms import AXES

Key = tuple[str, str]  # axis, group

_WORD = re.compile(r'[^\W\d_]+(?:-[^\W\d_]+)*')


@dataclasses.dataclass(frozen=True)
class Tokens:
  """W words of documents, of letters alone and in lower case.

  Attributes:
    places: of each distinct word, its number.
    word_W: the number of every word, document after document.
    stop_P: where each document ends.
  """

  places: dict[str, int]
  word_W: np.ndarray
  stop_P: np.ndarray

  def counts(self, chosen_W: np.ndarray) -> Counter[str]:
    """How often each word is among those chosen."""
    names = list(self.places)
    count_U = np.bincount(self.word_W[chosen_W], minlength=len(names))
    found = np.flatnonzero(count_U)
    numbers = count_U[found].tolist()
    return Counter(
      {names[i]: n for i, n in zip(found.tolist(), numbers, strict=True)}
    )


@dataclasses.dataclass(frozen=True)
class Mentions:
  """M places where a group is named.

  Attributes:
    start_M: first word of each.
    stop_M: behind its last.
    document_M: the document that it is in.
    terms: how often each term is there.
  """

  start_M: np.ndarray
  stop_M: np.ndarray
  document_M: np.ndarray
  terms: Counter[str]

  def around(self, tokens: Tokens, window: int) -> np.ndarray:
    """Whether each word is at most `window` words from a mention in its own
    document, or part of one."""
    begin_P = np.concatenate([[0], tokens.stop_P[:-1]])
    first_M = np.maximum(self.start_M - window, begin_P[self.document_M])
    last_M = np.minimum(self.stop_M + window, tokens.stop_P[self.document_M])
    size = len(tokens.word_W) + 1
    steps_W = np.bincount(first_M, minlength=size)
    steps_W -= np.bincount(last_M, minlength=size)
    return np.cumsum(steps_W)[:-1] > 0


def tokenize(texts: Sequence[str]) -> Tokens:
  """Cuts texts into words; an apostrophe parts, a hyphen does not."""
  places: dict[str, int] = {}
  words = [_WORD.findall(text.lower()) for text in texts]
  sizes_P = np.fromiter(map(len, words), np.int64, len(words))
  word_W = np.fromiter(
    (places.setdefault(word, len(places)) for part in words for word in part),
    np.int64,
    int(sizes_P.sum()),
  )
  return Tokens(places, word_W, np.cumsum(sizes_P))


def find_mentions(tokens: Tokens) -> dict[Key, Mentions]:
  """The mentions of each group that is named at all."""
  found: dict[Key, list[tuple[str, int]]] = {}
  for term, starts in _term_starts(tokens).items():
    for key in _keys()[term]:
      found.setdefault(key, []).extend((term, start) for start in starts)
  return {key: _mentions(tokens, places) for key, places in found.items()}


def _mentions(tokens: Tokens, places: list[tuple[str, int]]) -> Mentions:
  start_M = np.array([start for _, start in places])
  size_M = np.array([1 + term.count(' ') for term, _ in places])
  return Mentions(
    start_M=start_M,
    stop_M=start_M + size_M,
    document_M=np.searchsorted(tokens.stop_P, start_M, side='right'),
    terms=Counter(term for term, _ in places),
  )


def _term_starts(tokens: Tokens) -> dict[str, list[int]]:
  """Where each term starts, of those that are there."""
  names = list(tokens.places)
  first_U = np.zeros(len(names), bool)
  for term in _keys():
    place = tokens.places.get(term.split(' ')[0])
    if place is not None:
      first_U[place] = True
  ends = set(tokens.stop_P.tolist())
  words = tokens.word_W
  starts: dict[str, list[int]] = {}
  for start in np.flatnonzero(first_U[words]).tolist():
    term = names[words[start]]
    if term in _keys():
      starts.setdefault(term, []).append(start)
    if start + 1 < len(words) and start + 1 not in ends:
      phrase = f'{term} {names[words[start + 1]]}'
      if phrase in _keys():
        starts.setdefault(phrase, []).append(start)
  return starts


@functools.cache
def _keys() -> dict[str, tuple[Key, ...]]:
  """The groups that each term names."""
  found: dict[str, tuple[Key, ...]] = {}
  for axis, groups in AXES.items():
    for group, terms in groups.items():
      for term in terms:
        found[term] = (*found.get(term, ()), (axis, group))
  return found

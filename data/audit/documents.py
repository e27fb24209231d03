"""Documents cut into words and lines once, for every statistic of them."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

Field = str | int | bool


@dataclasses.dataclass(frozen=True)
class Documents:
  """P documents of W words in all, U of them distinct.

  A word is what whitespace parts, as in Rae et al. 2021.

  Attributes:
    texts: of the documents.
    fields: short values of each document, by name; may be empty.
    places: of the documents in their split.
    distinct: the U words, in the order in which they first come.
    word_W: of every word its place in `distinct`, document after document.
    document_W: of every word the document that it is in, from 0 to P - 1.
  """

  texts: tuple[str, ...]
  fields: tuple[Mapping[str, Field], ...]
  places: tuple[int, ...]
  distinct: tuple[str, ...]
  word_W: np.ndarray
  document_W: np.ndarray

  @functools.cached_property
  def bytes_P(self) -> np.ndarray:
    """Of each text as UTF-8."""
    return np.array([len(text.encode()) for text in self.texts], np.int64)

  @functools.cached_property
  def words_P(self) -> np.ndarray:
    """Number of words of each document."""
    return np.bincount(self.document_W, minlength=len(self.texts))

  @functools.cached_property
  def length_U(self) -> np.ndarray:
    """Characters of each distinct word."""
    return np.fromiter(map(len, self.distinct), np.int64, len(self.distinct))

  @functools.cached_property
  def lines(self) -> tuple[tuple[str, ...], ...]:
    """Of each document its lines that are not blank, stripped."""
    return tuple(
      tuple(filter(None, map(str.strip, text.split('\n'))))
      for text in self.texts
    )

  def sum_words(self, value_W: np.ndarray) -> np.ndarray:
    """Adds up a value of every word over each document."""
    return np.bincount(self.document_W, value_W, len(self.texts))


def cut(
  texts: Sequence[str],
  fields: Sequence[Mapping[str, Field]] = (),
  places: Sequence[int] = (),
) -> Documents:
  """Cuts texts into words.

  Args:
    texts: of P documents.
    fields: as in `Documents`; none by default.
    places: as in `Documents`; 0 to P - 1 by default.
  """
  numbers: dict[str, int] = {}
  words = [text.split() for text in texts]
  sizes_P = np.fromiter(map(len, words), np.int64, len(words))
  word_W = np.fromiter(
    (numbers.setdefault(word, len(numbers)) for part in words for word in part),
    np.int64,
    int(sizes_P.sum()),
  )
  return Documents(
    texts=tuple(texts),
    fields=tuple(fields) or ({},) * len(texts),
    places=tuple(places) or tuple(range(len(texts))),
    distinct=tuple(numbers),
    word_W=word_W,
    document_W=np.repeat(np.arange(len(words)), sizes_P),
  )

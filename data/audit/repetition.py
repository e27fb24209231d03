"""How much of a document repeats itself (Rae et al. 2021, table A1).

The paper leaves some of it open. Here a line or a paragraph is a duplicate if
it came before in the same document. Of n-grams all copies count, the first one
too; an n-gram that comes once repeats nothing; no character is counted twice,
and blanks are not counted: as in RedPajama-Data-v2 (Weber et al. 2024,
arXiv:2411.12372), whose words are in lower case and without punctuation, while
here they are left as they are.
"""

import re
from collections.abc import Callable, Iterable

import numpy as np

from data.audit.documents import Documents

TOP_SIZES = (2, 3, 4)
DUPLICATE_SIZES = (5, 6, 7, 8, 9, 10)
NGRAMS = (
  *(f'top_{size}gram' for size in TOP_SIZES),
  *(f'duplicate_{size}gram' for size in DUPLICATE_SIZES),
)
_PARAGRAPHS = re.compile(r'\n\s*\n')


def duplicate_lines(documents: Documents) -> np.ndarray:
  """Share of lines that came before."""
  return _shares(map(_duplicates, documents.lines))


def duplicate_line_characters(documents: Documents) -> np.ndarray:
  """Share of the characters of lines that is in lines that came before."""
  return _shares(map(_duplicate_characters, documents.lines))


def duplicate_paragraphs(documents: Documents) -> np.ndarray:
  """Share of paragraphs, parted by blank lines, that came before."""
  return _shares(map(_duplicates, _paragraphs(documents)))


def duplicate_paragraph_characters(documents: Documents) -> np.ndarray:
  """Share of the characters of paragraphs that is in those that came before."""
  return _shares(map(_duplicate_characters, _paragraphs(documents)))


STATISTICS: dict[str, Callable[[Documents], np.ndarray]] = {
  'duplicate_lines': duplicate_lines,
  'duplicate_line_characters': duplicate_line_characters,
  'duplicate_paragraphs': duplicate_paragraphs,
  'duplicate_paragraph_characters': duplicate_paragraph_characters,
}


def ngram_shares(documents: Documents) -> dict[str, np.ndarray]:
  """Shares of characters in repeated n-grams of words, by name.

  `top_2gram` to `top_4gram`: in the commonest n-gram, of equals the first.
  `duplicate_5gram` to `duplicate_10gram`: in all n-grams that come again.

  An n-gram can only come again if both (n-1)-grams in it do, so that each size
  looks at little of the text. The two tell an n-gram exactly: nothing is
  hashed.
  """
  length_W = documents.length_U[documents.word_W]
  total_P = np.maximum(documents.sum_words(length_W), 1)
  start_G = np.arange(len(length_W))
  key_G = documents.document_W * len(documents.distinct) + documents.word_W
  shares = {name: np.zeros(len(total_P)) for name in NGRAMS}
  for size in range(1, max(DUPLICATE_SIZES) + 1):
    if not len(start_G):
      break
    gram_W = _number_repeated(start_G, key_G, len(length_W))
    if size > 1:
      name, told_G = _told(size, gram_W, documents.document_W)
      covered_W = _covered(told_G, size, len(length_W))
      shares[name] = documents.sum_words(length_W * covered_W) / total_P
    both_W = (gram_W[:-1] >= 0) & (gram_W[1:] >= 0)
    if size == 1:  # longer ones share a word, and so a document
      both_W &= np.diff(documents.document_W) == 0
    start_G = np.flatnonzero(both_W)
    scale = int(gram_W.max(initial=0)) + 1
    key_G = gram_W[start_G] * scale + gram_W[start_G + 1]
  return shares


def _number_repeated(
  start_G: np.ndarray, key_G: np.ndarray, num_words: int
) -> np.ndarray:
  """Of each word the number of the n-gram that starts there; -1 if it is one
  that comes once, or none."""
  _, place_G, count_K = np.unique(
    key_G, return_inverse=True, return_counts=True
  )
  number_K = np.where(count_K > 1, np.cumsum(count_K > 1) - 1, -1)
  gram_W = np.full(num_words, -1)
  gram_W[start_G] = number_K[place_G]
  return gram_W


def _told(
  size: int, gram_W: np.ndarray, document_W: np.ndarray
) -> tuple[str, np.ndarray]:
  """The name of what is told of a size, and where its n-grams start."""
  if size in TOP_SIZES:
    return f'top_{size}gram', _commonest(gram_W, document_W)
  return f'duplicate_{size}gram', np.flatnonzero(gram_W >= 0)


def _commonest(gram_W: np.ndarray, document_W: np.ndarray) -> np.ndarray:
  """Where the commonest n-gram of each document starts."""
  start_G = np.flatnonzero(gram_W >= 0)
  _, first_K, place_G, count_K = np.unique(
    gram_W[start_G], return_index=True, return_inverse=True, return_counts=True
  )
  document_K = document_W[start_G[first_K]]
  order_K = np.lexsort((first_K, -count_K, document_K))
  _, best = np.unique(document_K[order_K], return_index=True)
  return start_G[np.isin(place_G, order_K[best])]


def _covered(start_G: np.ndarray, size: int, num_words: int) -> np.ndarray:
  """Whether each word is in an n-gram that starts at one of `start_G`."""
  covered_W = np.zeros(num_words, bool)
  for offset in range(size):
    covered_W[start_G + offset] = True
  return covered_W


def _paragraphs(documents: Documents) -> Iterable[tuple[str, ...]]:
  for text in documents.texts:
    parts = map(str.strip, _PARAGRAPHS.split(text))
    yield tuple(filter(None, parts))


def _duplicates(parts: tuple[str, ...]) -> tuple[int, int]:
  return len(parts) - len(set(parts)), len(parts)


def _duplicate_characters(parts: tuple[str, ...]) -> tuple[int, int]:
  total = sum(map(len, parts))
  return total - sum(map(len, set(parts))), total


def _shares(pairs: Iterable[tuple[int, int]]) -> np.ndarray:
  return np.array([part / max(whole, 1) for part, whole in pairs], np.float64)

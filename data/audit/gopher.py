"""The quality statistics of Gopher (Rae et al. 2021, appendix A.1.1)."""

from collections.abc import Callable

import numpy as np

from data.audit.documents import Documents

BULLETS = ('•', '◦', '‣', '▪', '·', '-', '–', '*')
ELLIPSES = ('...', '…')
STOP_WORDS = ('the', 'be', 'to', 'of', 'and', 'that', 'have', 'with')


def words(documents: Documents) -> np.ndarray:
  """Number of words."""
  return documents.words_P


def mean_word_length(documents: Documents) -> np.ndarray:
  """Characters of a word, on average."""
  length_W = documents.length_U[documents.word_W]
  return _of_words(documents, documents.sum_words(length_W))


def hash_ratio(documents: Documents) -> np.ndarray:
  """Hash signs a word."""
  found_P = np.array([text.count('#') for text in documents.texts])
  return _of_words(documents, found_P)


def ellipsis_ratio(documents: Documents) -> np.ndarray:
  """Ellipses a word."""
  found_P = np.array(
    [sum(map(text.count, ELLIPSES)) for text in documents.texts]
  )
  return _of_words(documents, found_P)


def bullet_lines(documents: Documents) -> np.ndarray:
  """Share of lines that start with a bullet point."""
  return _of_lines(documents, lambda line: line.startswith(BULLETS))


def ellipsis_lines(documents: Documents) -> np.ndarray:
  """Share of lines that end with an ellipsis."""
  return _of_lines(documents, lambda line: line.endswith(ELLIPSES))


def alphabetic_words(documents: Documents) -> np.ndarray:
  """Share of words with at least one letter."""
  has_U = np.array(
    [
      word.isalpha() or any(map(str.isalpha, word))
      for word in documents.distinct
    ],
    bool,
  )
  return _of_words(documents, documents.sum_words(has_U[documents.word_W]))


def stop_words(documents: Documents) -> np.ndarray:
  """How many of `STOP_WORDS` there are, each counted once."""
  known = {word: place for place, word in enumerate(STOP_WORDS)}
  stop_U = np.array([known.get(w.lower(), -1) for w in documents.distinct], int)
  stop_W = stop_U[documents.word_W]
  found = np.zeros((len(documents.texts), len(STOP_WORDS)), bool)
  found[documents.document_W[stop_W >= 0], stop_W[stop_W >= 0]] = True
  return found.sum(axis=1)


STATISTICS: dict[str, Callable[[Documents], np.ndarray]] = {
  'words': words,
  'mean_word_length': mean_word_length,
  'hash_ratio': hash_ratio,
  'ellipsis_ratio': ellipsis_ratio,
  'bullet_lines': bullet_lines,
  'ellipsis_lines': ellipsis_lines,
  'alphabetic_words': alphabetic_words,
  'stop_words': stop_words,
}


def _of_words(documents: Documents, count_P: np.ndarray) -> np.ndarray:
  return count_P / np.maximum(documents.words_P, 1)


def _of_lines(documents: Documents, told: Callable[[str], bool]) -> np.ndarray:
  return np.array(
    [sum(map(told, lines)) / max(len(lines), 1) for lines in documents.lines],
    np.float64,
  )

"""What languages documents are in, by py3langid.

py3langid is langid.py (Lui and Baldwin 2012) kept up: 4.5 MB with its model,
NumPy alone, BSD. Of the libraries that need no download it told the language
of short texts best, and gives a probability that is worth its name; fastText's
small model is faster, and comes with a downloader.
"""

import functools
import importlib.metadata
from typing import Any

from data.audit import extras
from data.audit.documents import Documents
from data.audit.shares import Shares

UNKNOWN = 'unknown'
LEAST_PROBABILITY = 0.5
LEAST_LETTERS = 20
WINDOW = 200  # characters; three of them are looked at


def language_of(text: str) -> str:
  """The ISO 639 code of a text's language, or `UNKNOWN`.

  Long texts are told by their beginning, middle and end. It is unknown when
  what is looked at has fewer than `LEAST_LETTERS` letters, or when no language
  has a probability of `LEAST_PROBABILITY`.

  Raises:
    UserError: py3langid is not installed.
  """
  seen = _windows(text)
  if sum(map(str.isalpha, seen)) < LEAST_LETTERS:
    return UNKNOWN
  code, probability = _identifier().classify(seen)
  return code if probability >= LEAST_PROBABILITY else UNKNOWN


class Languages:
  """The section 'languages' of an audit."""

  def __init__(self) -> None:
    self._shares = Shares()

  def count(self, documents: Documents) -> None:
    """Adds a chunk of documents."""
    for text, size in zip(documents.texts, documents.bytes_P, strict=True):
      self._shares.count(language_of(text), int(size))

  def add(self, other: 'Languages') -> None:
    """Adds what another has counted."""
    self._shares.add(other._shares)

  def tree(self) -> dict[str, Any]:
    """JSON-able: how it was told, and documents and bytes by language."""
    return {
      'library': f'py3langid {importlib.metadata.version("py3langid")}',
      'least_probability': LEAST_PROBABILITY,
      'least_letters': LEAST_LETTERS,
      'languages': self._shares.tree(),
    }


def _windows(text: str) -> str:
  if len(text) <= 3 * WINDOW:
    return text
  middle = (len(text) - WINDOW) // 2
  return ' '.join(
    (text[:WINDOW], text[middle : middle + WINDOW], text[-WINDOW:])
  )


@functools.cache
def _identifier() -> Any:
  langid = extras.load('py3langid.langid')
  return langid.LanguageIdentifier.from_model_file(
    langid.MODEL_FILE, norm_probs=True
  )

"""Words that offend, by the list that profanex ships.

Its list (from LDNOOBW, as is C4's, and reviewed for words that only seem to
offend) has categories and a licence, and one pass of its matcher finds all of
it. A list knows no context: a novel of 1850 and a medical paper have such
words too, and what is meant to hurt may have none. Rates are for comparing.
"""

import functools
import importlib.metadata
from collections import Counter
from typing import Any

import numpy as np

from data.audit import extras
from data.audit.documents import Documents
from data.audit.fields import LISTED, Fields
from data.audit.masking import mask

TOP = 10  # words that are told, masked
LEAST_DOCUMENTS = 20  # of a value whose rate is told


def offensive_words(text: str) -> list[tuple[str, tuple[str, ...]]]:
  """Every word of the list that is in a text, with its categories.

  Those with digits for letters are left out: most are hexadecimal numbers.

  Raises:
    UserError: profanex is not installed.
  """
  return [
    (match.text.lower(), tuple(sorted(c.value for c in match.categories)))
    for match in _filter().find(text)
    if not any(map(str.isdigit, match.text))
  ]


class Toxicity:
  """The section 'toxicity' of an audit."""

  def __init__(self) -> None:
    self._words: Counter[str] = Counter()
    self._mentions: Counter[str] = Counter()  # by category
    self._documents: Counter[str] = Counter()  # by category
    self._flagged = 0  # documents
    self._totals = np.zeros(2, np.int64)  # documents, words
    self._all = Fields()
    self._hit = Fields()

  def count(self, documents: Documents) -> None:
    """Adds a chunk of documents."""
    found = [offensive_words(text) for text in documents.texts]
    for words in found:
      self._words.update(word for word, _ in words)
      categories = [c for _, several in words for c in several]
      self._mentions.update(categories)
      self._documents.update(set(categories))
    flagged_P = np.array([bool(words) for words in found], bool)
    self._flagged += int(flagged_P.sum())
    self._totals += len(documents.texts), len(documents.word_W)
    self._all.count(documents)
    self._hit.count(documents, flagged_P)

  def add(self, other: 'Toxicity') -> None:
    """Adds what another has counted."""
    self._words.update(other._words)
    self._mentions.update(other._mentions)
    self._documents.update(other._documents)
    self._flagged += other._flagged
    self._totals += other._totals
    self._all.add(other._all)
    self._hit.add(other._hit)

  def tree(self) -> dict[str, Any]:
    """JSON-able: rates, by category and by the value of each field."""
    total_documents, total_words = np.maximum(self._totals, 1).tolist()
    common = sorted(self._words, key=lambda w: (-self._words[w], w))[:TOP]
    return {
      'library': f'profanex {importlib.metadata.version("profanex")}',
      'documents': self._flagged,
      'share_of_documents': self._flagged / total_documents,
      'words': self._words.total(),
      'per_million_words': 1e6 * self._words.total() / total_words,
      'categories': {
        name: {
          'documents': self._documents[name],
          'share_of_documents': self._documents[name] / total_documents,
          'words': self._mentions[name],
          'per_million_words': 1e6 * self._mentions[name] / total_words,
        }
        for name in sorted(self._mentions)
      },
      'fields': self._by_field(),
      'commonest': [
        {'masked': mask(word), 'words': self._words[word]} for word in common
      ],
    }

  def _by_field(self) -> dict[str, list[dict[str, Any]]]:
    """Of each field the values with the highest rates."""
    hit = self._hit.shares()
    rates: dict[str, list[dict[str, Any]]] = {}
    for name, shares in sorted(self._all.shares().items()):
      flagged = hit[name].documents if name in hit else Counter()
      found = [
        (flagged[value] / number, value)
        for value, number in shares.documents.items()
        if flagged[value] and number >= LEAST_DOCUMENTS
      ]
      found.sort(key=lambda pair: (-pair[0], str(pair[1])))
      if found:
        rates[name] = [
          {
            'value': value,
            'documents': flagged[value],
            'share_of_documents': share,
          }
          for share, value in found[:LISTED]
        ]
    return rates


@functools.cache
def _filter() -> Any:
  return extras.load('profanex').Filter()

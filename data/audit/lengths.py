"""How long documents are."""

from collections import Counter
from typing import Any

import numpy as np

from data.audit.distribution import Distribution
from data.audit.documents import Documents


class Lengths:
  """The section 'lengths' of an audit."""

  def __init__(self) -> None:
    self._bytes = Distribution()
    self._words = Distribution()
    self._documents: Counter[int] = Counter()  # by the power of two
    self._volume: Counter[int] = Counter()  # bytes, by the same

  def count(self, documents: Documents) -> None:
    """Adds a chunk of documents."""
    self._bytes.count(documents.bytes_P)
    self._words.count(documents.words_P)
    power_P = np.floor(np.log2(np.maximum(documents.bytes_P, 1))).astype(int)
    for power, size in zip(
      power_P.tolist(), documents.bytes_P.tolist(), strict=True
    ):
      self._documents[power] += 1
      self._volume[power] += size

  def add(self, other: 'Lengths') -> None:
    """Adds what another has counted."""
    self._bytes.add(other._bytes)
    self._words.add(other._words)
    self._documents.update(other._documents)
    self._volume.update(other._volume)

  def tree(self) -> dict[str, Any]:
    """JSON-able: spreads of 'bytes' and 'words', and a histogram of bytes.

    Each bin of the histogram goes from 'from' bytes to less than twice that.
    """
    powers = range(min(self._documents), max(self._documents) + 1)
    return {
      'bytes': self._bytes.tree(),
      'words': self._words.tree(),
      'histogram': [
        {
          'from': 2**power,
          'documents': self._documents[power],
          'bytes': self._volume[power],
        }
        for power in powers
      ],
    }

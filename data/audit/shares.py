"""Documents and bytes by the value of something, and their shares."""

from collections import Counter
from typing import Any

from data.audit.documents import Field

MOST_DISTINCT = 1000


class Shares:
  """Counts documents and bytes by value.

  Attributes:
    documents: by value.
    bytes: by value.
    overflown: whether there were more than `MOST_DISTINCT` values: then
      nothing is kept, so that memory stays small.
  """

  def __init__(self) -> None:
    self.documents: Counter[Field] = Counter()
    self.bytes: Counter[Field] = Counter()
    self.overflown = False

  def count(self, value: Field, size: int) -> None:
    """Adds a document of `size` bytes."""
    self.documents[value] += 1
    self.bytes[value] += size

  def add(self, other: 'Shares') -> None:
    """Adds what another has counted."""
    self.documents.update(other.documents)
    self.bytes.update(other.bytes)
    self.overflown |= other.overflown or len(self.documents) > MOST_DISTINCT
    if self.overflown:
      self.documents.clear()
      self.bytes.clear()

  def tree(self, most: int | None = None) -> list[dict[str, Any]]:
    """JSON-able: a row for each value, those of the most bytes first.

    Args:
      most: so many values; None for all.
    """
    totals = max(self.documents.total(), 1), max(self.bytes.total(), 1)
    values = sorted(self.bytes, key=lambda v: (-self.bytes[v], str(v)))
    return [
      {
        'value': value,
        'documents': self.documents[value],
        'bytes': self.bytes[value],
        'share_of_documents': self.documents[value] / totals[0],
        'share_of_bytes': self.bytes[value] / totals[1],
      }
      for value in values[:most]
    ]

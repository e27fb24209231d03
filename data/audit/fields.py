"""What values the fields of documents have: library, path, kind and so on."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from data.audit.documents import Documents, Field
from data.audit.shares import MOST_DISTINCT, Shares
from data.rows import Row

LONGEST = 100  # characters; what is longer is a text, not a category
LONGER = f'(more than {LONGEST} characters)'
LISTED = 20  # values of a field that are told
PATH, SUFFIX = 'path', 'path suffix'


def fields_of(row: Row) -> dict[str, Field]:
  """The values of a row that may be categories, and the suffix of its path."""
  found: dict[str, Field] = {}
  for name, value in row.items():
    if name != 'text' and isinstance(value, str | int | bool):
      found[_clean(name)] = _category(value)
  if isinstance(row.get(PATH), str):
    found[SUFFIX] = _clean(PurePosixPath(row[PATH]).suffix) or '(none)'
  return found


def _category(value: Field) -> Field:
  if not isinstance(value, str):
    return value
  return LONGER if len(value) > LONGEST else _clean(value)


def _clean(text: str) -> str:
  """A lone surrogate is text to Python, but not to a file."""
  return text.encode(errors='replace').decode()


class Fields:
  """The section 'fields' of an audit."""

  def __init__(self) -> None:
    self._shares: dict[str, Shares] = {}

  def count(
    self, documents: Documents, chosen_P: np.ndarray | None = None
  ) -> None:
    """Adds a chunk of documents, or those of them that are chosen."""
    for place, fields in enumerate(documents.fields):
      if chosen_P is None or chosen_P[place]:
        size = int(documents.bytes_P[place])
        for name, value in fields.items():
          self._shares.setdefault(name, Shares()).count(value, size)

  def add(self, other: 'Fields') -> None:
    """Adds what another has counted."""
    for name, shares in other._shares.items():
      self._shares.setdefault(name, Shares()).add(shares)

  def shares(self) -> Mapping[str, Shares]:
    """Of each field with at most `MOST_DISTINCT` values, its counts."""
    return {n: s for n, s in self._shares.items() if not s.overflown}

  def tree(self) -> dict[str, Any]:
    """JSON-able: of each of 'fields' its values, those of the most bytes first.

    'distinct' is None where there are more than 'most_counted'.
    """
    return {
      'most_counted': MOST_DISTINCT,
      'fields': {
        name: {
          'distinct': None if shares.overflown else len(shares.documents),
          'values': shares.tree(LISTED),
        }
        for name, shares in sorted(self._shares.items())
      },
    }

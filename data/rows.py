"""Documents by index, read when they are asked for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np

Row = Mapping[str, Any]


class Rows(Sequence[Row]):
  """`size` rows; row i is `read(i)`, for i from 0 to size - 1."""

  def __init__(self, read: Callable[[int], Row], size: int):
    self._read = read
    self._size = size

  def __len__(self) -> int:
    return self._size

  @overload
  def __getitem__(self, index: int) -> Row: ...
  @overload
  def __getitem__(self, index: slice) -> list[Row]: ...
  def __getitem__(self, index):
    places = range(self._size)[index]  # negative indices, IndexError, slices
    if isinstance(index, slice):
      return [self._read(place) for place in places]
    return self._read(places)


def joined(parts: Sequence[Sequence[Row]]) -> Sequence[Row]:
  """The rows of one part after the other's."""
  if len(parts) == 1:
    return parts[0]
  ends = np.cumsum([len(part) for part in parts])

  def read(index: int) -> Row:
    part = int(np.searchsorted(ends, index, side='right'))
    return parts[part][index - (int(ends[part - 1]) if part else 0)]

  return Rows(read, int(ends[-1]))

"""Documents by index, read when they are asked for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

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

"""Texts of one or several sources, read when they are asked for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

import numpy as np
import tqdm

from data.rows import Row


class Texts(Sequence[str]):
  """The texts of documents of some sources, one source after the other.

  They can be read again and again, and none is held.
  """

  def __init__(
    self, name: str, sources: Mapping[str, Sequence[Row]], sample: int = 0
  ):
    """Of each source takes the documents that `spread` chooses.

    Args:
      name: what they are, for the bar.
      sources: documents, by the name of their source.
      sample: so many of each source; 0 for all.
    """
    self._name = name
    self._sources = tuple(sources)
    self._rows = tuple(sources.values())
    self._places = [spread(len(rows), sample) for rows in self._rows]
    self._ends = np.cumsum([len(places) for places in self._places])

  def __len__(self) -> int:
    return int(self._ends[-1])

  @overload
  def __getitem__(self, index: int) -> str: ...
  @overload
  def __getitem__(self, index: slice) -> list[str]: ...
  def __getitem__(self, index):
    places = range(len(self))[index]  # negative indices, IndexError, slices
    if isinstance(index, slice):
      return [self[place] for place in places]
    part, row = self._find(places)
    return self._rows[part][row]['text']

  def __iter__(self) -> Iterator[str]:
    for index in tqdm.trange(
      len(self), desc=f'reading {self._name}', unit=' documents'
    ):
      yield self[index]

  @property
  def num_documents(self) -> int:
    """Of all sources, with those that are not in the sample."""
    return sum(map(len, self._rows))

  def origin(self, index: int) -> tuple[str, int]:
    """The source of a text, and the place of its document in its split."""
    part, row = self._find(index)
    return self._sources[part], row

  def _find(self, index: int) -> tuple[int, int]:
    part = int(np.searchsorted(self._ends, index, side='right'))
    begin = int(self._ends[part - 1]) if part else 0
    return part, self._places[part][index - begin]


def spread(size: int, sample: int) -> Sequence[int]:
  """All places below `size`, or `sample` of them at even distances."""
  if not 0 < sample < size:
    return range(size)
  return [place * size // sample for place in range(sample)]

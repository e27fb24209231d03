"""Texts that are nearly equal to given ones, by MinHash and exact Jaccard.

Candidates share a band of their MinHash signatures (`data.minhash`); each is
then compared by its whole shingle set, so that every match is a true one and
only a few of the true ones are missed (0.2% at a threshold of 0.8, fewer above
it). Shingles are word 5-grams; a text below five words is one shingle, and
matches the same text only, but for case and white space.

Suffixes: T indexed texts, P pairs.
"""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from data.minhash import band_keys, banding
from data.shingles import (
  Chunk,
  Ragged,
  chunks,
  from_lengths,
  jaccard,
  shingle_sets,
)

THRESHOLD = 0.8  # Jaccard similarity of near-duplicates
MEMORY = 2**30  # bytes that an index holds before it goes to disk


@dataclasses.dataclass(frozen=True)
class Matches:
  """Pairs at or above the threshold, by query and then by indexed text.

  Attributes:
    query: (P,) int64, which of the texts that were asked about.
    indexed: (P,) int64, which of the texts of the index.
    jaccard: (P,) float64, of their shingle sets.
  """

  query: np.ndarray
  indexed: np.ndarray
  jaccard: np.ndarray


@dataclasses.dataclass(frozen=True)
class Band:
  """One band of all indexed texts, ascending.

  Attributes:
    keys: (T,) uint64, sorted.
    texts: (T,) int64, which text each key is of; ascending where keys agree.
  """

  keys: np.ndarray
  texts: np.ndarray


class NearIndex:
  """An index of texts, in memory or on disk, which can be asked for matches.

  It holds 8 bytes a shingle and 16 a band and text: some 900 bytes for a text
  of 70 words. Past `memory` bytes all of it is in unnamed temporary files that
  are mapped, and go with the index; while it is built it holds 32 bytes a text
  beside. What it finds is the same.

  Attributes:
    threshold: Jaccard similarity of a match.
    sets: the shingle sets of all texts.
    bands: by which candidates are looked up.
    on_disk: whether the index is in files.
  """

  def __init__(
    self,
    texts: Iterable[str],
    threshold: float = THRESHOLD,
    *,
    memory: int = MEMORY,
    folder: Path | None = None,
  ):
    """Reads all texts once.

    Args:
      texts: to be found.
      threshold: above 0, at most 1.
      memory: bytes to hold in memory.
      folder: for the files; the system's folder for temporary ones if None.

    Raises:
      UserError: a threshold that is no similarity above 0.
    """
    self.threshold = threshold
    self.on_disk = False
    self._banding = banding(threshold)
    values = _Column(np.uint64)
    keys = [_Column(np.uint64) for _ in range(self._banding[0])]
    lengths = [np.zeros(0, np.int64)]
    held = 0
    with contextlib.ExitStack() as files:

      def new_file() -> IO[bytes]:
        return files.enter_context(tempfile.TemporaryFile(dir=folder))

      for chunk in chunks(texts):
        sets = shingle_sets(chunk)
        lengths.append(sets.lengths_T)
        values.append(sets.values)
        for column, keys_T in zip(keys, self._keys(sets), strict=True):
          column.append(keys_T)
        held += 8 * len(sets.values) + 16 * len(keys) * len(sets)
        if held > memory and not self.on_disk:
          self.on_disk = True
          for column in (values, *keys):
            column.to_disk(new_file())
      self.sets = Ragged(values.array(), from_lengths(np.concatenate(lengths)))
      self.bands = [
        _sorted_band(column.array(), new_file if self.on_disk else None)
        for column in keys
      ]

  def __len__(self) -> int:
    return len(self.sets)

  def query(self, texts: Iterable[str]) -> Matches:
    """All matches of `texts`, which are read once."""
    found = [self.query_chunk(chunk) for chunk in chunks(texts)]
    return Matches(
      np.concatenate([np.zeros(0, np.int64), *(m.query for m in found)]),
      np.concatenate([np.zeros(0, np.int64), *(m.indexed for m in found)]),
      np.concatenate([np.zeros(0), *(m.jaccard for m in found)]),
    )

  def query_chunk(self, chunk: Chunk) -> Matches:
    """Matches of some texts; `query` counts from the first of the whole."""
    sets = shingle_sets(chunk)
    pairs = np.unique(np.concatenate(list(self._candidates(sets))))
    query, indexed = np.divmod(pairs, max(1, len(self)))
    found = jaccard(sets, query, self.sets, indexed)
    near = found >= self.threshold
    return Matches(chunk.first + query[near], indexed[near], found[near])

  def _candidates(self, sets: Ragged) -> Iterator[np.ndarray]:
    """Pairs as query * T + indexed, of each band."""
    for band, key_Q in zip(self.bands, self._keys(sets), strict=True):
      begin_Q = np.searchsorted(band.keys, key_Q, 'left')
      size_Q = np.searchsorted(band.keys, key_Q, 'right') - begin_Q
      offsets = from_lengths(size_Q)
      place = np.arange(offsets[-1])
      place += np.repeat(begin_Q - offsets[:-1], size_Q)
      query = np.repeat(np.arange(len(sets)), size_Q)
      yield query * len(self) + band.texts[place]

  def _keys(self, sets: Ragged) -> np.ndarray:
    return band_keys(sets, *self._banding)


class _Column:
  """An array that grows, in memory and, once it is given one, in a file."""

  def __init__(self, dtype: type):
    self._dtype = dtype
    self._parts: list[np.ndarray] = []
    self._file: IO[bytes] | None = None

  def append(self, values: np.ndarray) -> None:
    if self._file is None:
      self._parts.append(values)
    else:
      values.tofile(self._file)

  def to_disk(self, file: IO[bytes]) -> None:
    """Moves to an empty file, where all that follows goes too."""
    for part in self._parts:
      part.tofile(file)
    self._parts = []
    self._file = file

  def array(self) -> np.ndarray:
    """All values; that of a file is a map, which outlives the open file."""
    if self._file is None:
      return np.concatenate([np.zeros(0, self._dtype), *self._parts])
    return _map(self._file, self._dtype)


def _sorted_band(
  keys_T: np.ndarray, new_file: Callable[[], IO[bytes]] | None
) -> Band:
  order_T = np.argsort(keys_T, kind='stable')
  columns = [keys_T[order_T], order_T]
  if new_file is None:
    return Band(*columns)
  files = [new_file(), new_file()]
  for column, file in zip(columns, files, strict=True):
    column.tofile(file)
  return Band(_map(files[0], np.uint64), _map(files[1], np.int64))


def _map(file: IO[bytes], dtype: type) -> np.ndarray:
  file.flush()
  return np.asarray(np.memmap(file, dtype, 'r'))

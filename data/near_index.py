"""Texts that are nearly equal to given ones, by MinHash and exact Jaccard.

Candidates share a band of their MinHash signatures (`data.minhash`); each is
then compared by its whole shingle set, so that every match is a true one and
only a few of the true ones are missed (0.2% at a threshold of 0.8, fewer above
it). Shingles are word 5-grams; a text below five words is one shingle, and
matches the same text only, but for case and white space.

The time is bounded for texts that are many times the same, or much alike: of
texts with equal shingle sets only the first is a candidate, and a query has at
most `CANDIDATES` of them in a band, the first ones. What is left out is
counted.

Suffixes: T indexed texts, D those of them with different shingle sets, Q
queries, B bands, P pairs.
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
  Ragged,
  blocks,
  chunks,
  fingerprints,
  from_lengths,
  jaccard,
  shingle_sets,
)

THRESHOLD = 0.8  # Jaccard similarity of near-duplicates
MEMORY = 2**30  # bytes that an index holds before it goes to disk
CANDIDATES = 1000  # of a query in a band, at most

_PAIRED = 2**20  # candidates of all bands that are compared together


@dataclasses.dataclass(frozen=True)
class Matches:
  """Pairs at or above the threshold, by query and then by indexed text.

  Indexed texts with equal shingle sets are told by the first of them.

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
  """One band of all indexed texts with different shingle sets, ascending.

  Attributes:
    keys: (D,) uint64, sorted.
    texts: (D,) int64, which text each key is of; ascending where keys agree.
  """

  keys: np.ndarray
  texts: np.ndarray


class NearIndex:
  """An index of texts, in memory or on disk, which can be asked for matches.

  It holds 8 bytes a shingle and 16 a band and text: some 900 bytes for a text
  of 70 words. Past `memory` bytes all of it is in unnamed temporary files that
  are mapped, and go with the index, but for 8 bytes a text; while it is built
  it holds 40 bytes a text beside. What it finds is the same.

  Attributes:
    threshold: Jaccard similarity of a match.
    sets: the shingle sets of all texts.
    first_T: (T,) int64, the first text with the same shingle set.
    bands: by which candidates are looked up.
    on_disk: whether the index is in files.
    num_left_out: candidates beyond `CANDIDATES` in all bands of all queries so
      far, an upper bound of the pairs that were not compared.
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
    self.num_left_out = 0
    self._banding = banding(threshold)
    values = _Column(np.uint64)
    keys = [_Column(np.uint64) for _ in range(self._banding[0])]
    lengths = [np.zeros(0, np.int64)]
    prints = [np.zeros(0, np.uint64)]
    held = 0
    with contextlib.ExitStack() as files:

      def new_file() -> IO[bytes]:
        return files.enter_context(tempfile.TemporaryFile(dir=folder))

      for chunk in chunks(texts):
        sets = shingle_sets(chunk)
        lengths.append(sets.lengths_T)
        prints.append(fingerprints(sets))
        values.append(sets.values)
        for column, keys_T in zip(keys, self._keys(sets), strict=True):
          column.append(keys_T)
        held += 8 * len(sets.values) + 16 * len(keys) * len(sets)
        if held > memory and not self.on_disk:
          self.on_disk = True
          for column in (values, *keys):
            column.to_disk(new_file())
      self.sets = Ragged(values.array(), from_lengths(np.concatenate(lengths)))
      texts_D, self.first_T = first_equal(np.concatenate(prints))
      self.bands = [
        _sorted_band(
          column.array(), texts_D, new_file if self.on_disk else None
        )
        for column in keys
      ]

  def __len__(self) -> int:
    return len(self.sets)

  def query(self, texts: Iterable[str]) -> Matches:
    """All matches of `texts`, which are read once."""
    query = [np.zeros(0, np.int64)]
    indexed = [np.zeros(0, np.int64)]
    similarity = [np.zeros(0)]
    for chunk in chunks(texts):
      for found in self.matches(shingle_sets(chunk)):
        query.append(chunk.first + found.query)
        indexed.append(found.indexed)
        similarity.append(found.jaccard)
    return Matches(
      np.concatenate(query), np.concatenate(indexed), np.concatenate(similarity)
    )

  def matches(self, sets: Ragged) -> Iterator[Matches]:
    """Matches of some shingle sets, a bounded number at a time.

    Queries ascend from one part to the next.
    """
    begin_BQ, size_BQ = self._candidates(sets)
    for block in blocks(size_BQ.sum(axis=0), _PAIRED):
      pairs = np.unique(
        np.concatenate(
          [
            self._pairs(band, begin_Q[block], size_Q[block], block.start)
            for band, begin_Q, size_Q in zip(
              self.bands, begin_BQ, size_BQ, strict=True
            )
          ]
        )
      )
      query, indexed = np.divmod(pairs, max(1, len(self)))
      found = jaccard(sets, query, self.sets, indexed)
      near = found >= self.threshold
      yield Matches(query[near], indexed[near], found[near])

  def _candidates(self, sets: Ragged) -> tuple[np.ndarray, np.ndarray]:
    """Of each query in each band, where they begin and how many they are."""
    keys_BQ = self._keys(sets)
    begin_BQ = np.empty(keys_BQ.shape, np.int64)
    end_BQ = np.empty(keys_BQ.shape, np.int64)
    for row, band in enumerate(self.bands):
      begin_BQ[row] = np.searchsorted(band.keys, keys_BQ[row], 'left')
      end_BQ[row] = np.searchsorted(band.keys, keys_BQ[row], 'right')
    size_BQ = end_BQ - begin_BQ
    kept_BQ = np.minimum(size_BQ, CANDIDATES)
    self.num_left_out += int((size_BQ - kept_BQ).sum())
    return begin_BQ, kept_BQ

  def _pairs(
    self, band: Band, begin_Q: np.ndarray, size_Q: np.ndarray, first: int
  ) -> np.ndarray:
    """Pairs as query * T + indexed; queries count from `first`."""
    offsets = from_lengths(size_Q)
    place = np.arange(offsets[-1])
    place += np.repeat(begin_Q - offsets[:-1], size_Q)
    query = np.repeat(first + np.arange(len(size_Q)), size_Q)
    return query * len(self) + band.texts[place]

  def _keys(self, sets: Ragged) -> np.ndarray:
    return band_keys(sets, *self._banding)


def first_equal(prints_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The first text of each fingerprint, ascending; and that of each text.

  Args:
    prints_T: of the shingle sets of texts (see `shingles.fingerprints`).
  """
  _, first, kind_T = np.unique(prints_T, return_index=True, return_inverse=True)
  return np.sort(first), first[kind_T]


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
  keys_T: np.ndarray,
  texts_D: np.ndarray,
  new_file: Callable[[], IO[bytes]] | None,
) -> Band:
  keys_D = keys_T[texts_D]
  order_D = np.argsort(keys_D, kind='stable')
  columns = [keys_D[order_D], texts_D[order_D]]
  if new_file is None:
    return Band(*columns)
  files = [new_file(), new_file()]
  for column, file in zip(columns, files, strict=True):
    column.tofile(file)
  return Band(_map(files[0], np.uint64), _map(files[1], np.int64))


def _map(file: IO[bytes], dtype: type) -> np.ndarray:
  file.flush()
  return np.asarray(np.memmap(file, dtype, 'r'))

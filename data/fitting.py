"""Pieces of documents laid side by side into rows, none of them cut to fit.

A document is cut only where it is longer than a row can hold; its pieces are
then laid into rows by best fit (Ding et al. 2024, arXiv:2404.10830). Which ones
share a row is planned once, from lengths alone, and is the same in every epoch;
the order of the rows is that of `data.order`.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.tree import digest
from data import cache
from data.batch import Batch
from data.best_fit import best_fit
from data.order import EpochOrder
from data.recipe import Recipe
from data.tokens import Shard, TokenStore

_TOGETHER = 16_384  # pieces that are laid out at a time
_FILE = 'plan.npz'
_VERSION = 1  # of how plans are made


@dataclasses.dataclass(frozen=True)
class Plan:
  """The rows of a shard.

  Attributes:
    documents_P: of each piece, row after row.
    starts_P: where in its document each piece begins.
    lengths_P: tokens of each piece.
    uniforms_P: in [0, 1), what the sizes of each piece's example depend on.
    ends_R: where among the pieces those of each row end.
  """

  documents_P: np.ndarray
  starts_P: np.ndarray
  lengths_P: np.ndarray
  uniforms_P: np.ndarray
  ends_R: np.ndarray

  def row(self, number: int) -> slice:
    """The pieces of a row."""
    start = self.ends_R[number - 1] if number else 0
    return slice(int(start), int(self.ends_R[number]))


def make_plan(
  lengths: np.ndarray,
  documents: np.ndarray,
  recipe: Recipe,
  key: tuple[int, int],
) -> Plan:
  """Cuts documents into pieces, and lays these into rows.

  Args:
    lengths: tokens of every document of the shard.
    documents: those that are used.
    recipe: tells the longest piece, the sizes of its example and of a row.
    key: seed and number of the shard; of the pieces' uniforms.
  """
  counts = -(-lengths[documents] // recipe.piece_length)
  documents_P = np.repeat(documents, counts)
  number_P = np.arange(len(documents_P)) - np.repeat(
    np.cumsum(counts) - counts, counts
  )
  starts_P = number_P * recipe.piece_length
  lengths_P = np.minimum(lengths[documents_P] - starts_P, recipe.piece_length)
  uniforms_P = _uniforms(key, documents_P, starts_P)
  sizes = [
    recipe.objective.sizes(int(length), float(u))
    for length, u in zip(lengths_P, uniforms_P, strict=True)
  ]
  shape = recipe.shape
  source, target = ([size[side] for size in sizes] for side in (0, 1))
  rows: list[list[int]] = []
  for first in range(0, len(sizes), _TOGETHER):
    part = slice(first, first + _TOGETHER)
    if shape.source_length:
      found = best_fit(
        source[part], shape.source_length, target[part], shape.length
      )
    else:
      found = best_fit(target[part], shape.length)
    rows += [[first + item for item in row] for row in found]
  order = np.array([piece for row in rows for piece in row], np.int64)
  return Plan(
    documents_P[order].astype(np.int32),
    starts_P[order].astype(np.int32),
    lengths_P[order].astype(np.int32),
    uniforms_P[order],
    np.cumsum([len(row) for row in rows], dtype=np.int64),
  )


class FitRows:
  """The endless sequence of rows that training reads, by index.

  As `data.packing.SplitRows`, but no text is dropped, and rows are not quite
  full.

  Attributes:
    rows_per_epoch: all rows of the plans.
  """

  def __init__(
    self,
    store: TokenStore,
    recipe: Recipe,
    batch_size: int,
    seed: int,
    plans: Sequence[Plan],
    static: bool = False,
  ):
    """Takes a store and the plan of each shard.

    Args:
      store: of the split.
      recipe: with which the plans were made.
      batch_size: rows over all processes.
      seed: of all that is drawn.
      plans: of the store's shards.
      static: an example is the same in every epoch.

    Raises:
      UserError: the text is shorter than one batch.
    """
    self._store = store
    self._recipe = recipe
    self._seed = seed
    self._plans = plans
    self._static = static
    rows_K = np.array([len(plan.ends_R) for plan in plans])
    # Rows hold the same text in every epoch: were some cut off for the batch's
    # sake, always the same text would be lost. A batch may span two epochs.
    self._order = EpochOrder(rows_K, 1, seed)
    self.rows_per_epoch = self._order.rows_per_epoch
    if self.rows_per_epoch < batch_size:
      raise UserError(
        f'data.batch_size = {batch_size}: the text fills only {rows_K.sum()} '
        'rows: lower it, or give more text'
      )
    self._given = store, recipe, batch_size, seed, plans, static

  def __reduce__(self) -> Any:  # what is cached stays in its process
    return type(self), self._given

  def sequences(self, indices: np.ndarray) -> Batch:
    """The rows at `indices`, of shape B, as `data.batch.BatchShape` tells."""
    indices = np.asarray(indices)
    batch = self._recipe.shape.empty(len(indices))
    epochs, rows = np.divmod(indices, self.rows_per_epoch)
    for epoch in np.unique(epochs):
      (in_epoch,) = np.nonzero(epochs == epoch)
      shards, places = self._order.locate(int(epoch), rows[in_epoch])
      drawn = 0 if self._static else int(epoch)
      for index, shard, place in zip(in_epoch, shards, places, strict=True):
        key = self._seed, drawn, 3, int(shard), int(place)
        _fill(
          batch,
          int(index),
          self._store.shard(int(shard)),
          self._plans[shard],
          int(place),
          self._recipe,
          key,
        )
    return batch


class OrderedFitRows:
  """The planned rows in order, for evaluation; the same in every pass."""

  def __init__(
    self, store: TokenStore, recipe: Recipe, plans: Sequence[Plan], seed: int
  ):
    self._store = store
    self._recipe = recipe
    self._seed = seed
    self._plans = plans
    self._ends_K = np.cumsum([len(plan.ends_R) for plan in plans])

  def __len__(self) -> int:
    return int(self._ends_K[-1])

  def sequences(self, indices: np.ndarray) -> Batch:
    """The rows at `indices`; an index of len(self) or more is padding."""
    indices = np.asarray(indices)
    batch = self._recipe.shape.empty(len(indices))
    shards = np.searchsorted(self._ends_K, indices, side='right')
    for row, (index, shard) in enumerate(zip(indices, shards, strict=True)):
      if index < len(self):
        start = self._ends_K[shard - 1] if shard else 0
        _fill(
          batch,
          row,
          self._store.shard(int(shard)),
          self._plans[shard],
          int(index - start),
          self._recipe,
          (self._seed, 0, 4, int(shard), int(index - start)),
        )
    return batch


def load_plans(
  store: TokenStore,
  recipe: Recipe,
  seed: int,
  name: Any,
  folder: Path,
  documents_K: Sequence[np.ndarray] | None = None,
) -> Sequence[Plan]:
  """The plan of each shard, made once; those used last stay in memory.

  Args:
    store: of a split.
    recipe: of what is read.
    seed: of what sizes depend on.
    name: JSON-able: all that decides the plans beside these.
    folder: where plans of this store lie.
    documents_K: of each shard, the documents that are used; by default all.
  """
  shape = dataclasses.asdict(recipe.shape) | {'batch_size': 0}
  key = digest([_VERSION, name, shape, recipe.piece_length, seed])
  paths = []
  for number in range(len(store.folders)):

    def build(partial: Path, number: int = number) -> dict[str, Any]:
      lengths = store.shard(number).lengths
      documents = np.arange(len(lengths))
      if documents_K is not None:
        documents = documents_K[number]
      plan = make_plan(lengths, documents, recipe, (seed, number))
      np.savez(partial / _FILE, **vars(plan))
      return {'rows': len(plan.ends_R), 'pieces': len(plan.documents_P)}

    path = folder / f'{key}-{number:05d}'
    cache.build_once(path, build)
    paths.append(path / _FILE)
  return _Plans(paths)


class _Plans(Sequence[Plan]):
  """Plans on disk."""

  def __init__(self, paths: Sequence[Path]):
    self._paths = paths

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, number: Any) -> Any:
    return _read_plan(self._paths[number])


@functools.lru_cache(maxsize=32)
def _read_plan(path: Path) -> Plan:
  with np.load(path) as arrays:
    return Plan(**arrays)


def _fill(
  batch: Batch,
  row: int,
  shard: Shard,
  plan: Plan,
  number: int,
  recipe: Recipe,
  key: tuple[int, ...],
) -> None:
  """Writes a planned row into a row of a batch."""
  pieces = plan.row(number)
  documents_P = plan.documents_P[pieces]
  starts_P = plan.starts_P[pieces]
  lengths_P = plan.lengths_P[pieces]
  # with the token that follows each piece, where its document goes on
  stops_P = np.minimum(starts_P + lengths_P + 1, shard.lengths[documents_P])
  flat = shard.read(documents_P, starts_P, stops_P).astype(np.int32)
  generator = recipe.generator(key)
  end, target_at, source_at = 0, 0, 0
  for segment, (start, stop, length, u) in enumerate(
    zip(starts_P, stops_P, lengths_P, plan.uniforms_P[pieces], strict=True),
    start=1,
  ):
    tokens = flat[end : end + stop - start]
    end += stop - start
    if len(tokens) == length:
      tokens = np.append(tokens, np.int32(recipe.separator_id))
    example = recipe.objective.example(tokens, float(u), generator)
    size = len(example.tokens)
    at = slice(target_at, target_at + size)
    batch['tokens'][row, at] = example.tokens
    batch['targets'][row, at] = example.targets
    batch['weights'][row, at] = example.weights
    batch['segment_ids'][row, at] = segment
    batch['positions'][row, at] = np.arange(size)
    if example.prefix is not None:
      batch['prefix'][row, at] = example.prefix
    target_at += size
    if example.source is not None:
      size = len(example.source)
      at = slice(source_at, source_at + size)
      batch['source_tokens'][row, at] = example.source
      batch['source_segment_ids'][row, at] = segment
      batch['source_positions'][row, at] = np.arange(size)
      source_at += size


def _uniforms(
  key: tuple[int, int], documents_P: np.ndarray, starts_P: np.ndarray
) -> np.ndarray:
  """A number in [0, 1) for each piece, of what it is alone (SplitMix64)."""
  seed, shard = key
  x = np.full(len(documents_P), seed, np.uint64)
  for part in (np.uint64(shard), documents_P, starts_P):
    x = x + np.asarray(part).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
  return (x >> np.uint64(11)) / float(2**53)

"""Documents one after the other, cut into rows of one length.

A shard of an epoch is a stream: its documents in an order drawn from (seed,
epoch), each a separator and then its tokens. The stream is never built; a place
in it is looked up through the running sum of the documents' lengths. It is cut
into windows of L + 1 tokens that overlap by one, so that every token but the
first is a target exactly once. What is left at its end, less than a window, is
dropped. The order of the windows is that of `data.order`.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from configs.errors import UserError
from data.batch import Batch
from data.order import EpochOrder, permutation
from data.recipe import Recipe
from data.tokens import Shard, TokenStore


class _Stream(NamedTuple):
  """Documents of a shard in order, and where in the stream each ends."""

  documents: np.ndarray
  ends: np.ndarray


class SplitRows:
  """The endless sequence of rows that training reads, by index.

  Row r is a pure function of the store, the recipe, the seed, the batch size
  and r. How many processes share a batch changes nothing.

  Attributes:
    rows_per_epoch: a multiple of the batch size.
    dropped_tokens: of each epoch.
  """

  def __init__(
    self,
    store: TokenStore,
    recipe: Recipe,
    batch_size: int,
    seed: int,
    documents_K: Sequence[np.ndarray] | None = None,
  ):
    """Cuts a store into rows.

    Args:
      store: of the split.
      recipe: its objective keeps lengths.
      batch_size: rows over all processes.
      seed: of all that is drawn.
      documents_K: of each shard, the documents that are used; by default all.

    Raises:
      UserError: the text is shorter than one batch.
    """
    self._store = store
    self._recipe = recipe
    self._length = recipe.shape.length
    self._seed = seed
    self._documents_K = documents_K
    tokens_K = np.array(
      [self._num_tokens(shard) for shard in range(len(store.folders))]
    )
    rows_K = np.maximum(tokens_K - 1, 0) // self._length
    self._order = EpochOrder(rows_K, batch_size, seed)
    self.rows_per_epoch = self._order.rows_per_epoch
    # the first token of a stream is no target
    targets = int(np.maximum(tokens_K - 1, 0).sum())
    self.dropped_tokens = targets - self.rows_per_epoch * self._length
    if self.rows_per_epoch < 1:
      raise UserError(
        f'data.batch_size x data.sequence_length = {batch_size} x '
        f'{self._length} tokens is more than the {tokens_K.sum()} there are: '
        'lower either, or give more text'
      )
    self._stream = functools.lru_cache(maxsize=16)(self._draw_stream)
    self._given = store, recipe, batch_size, seed, documents_K

  def __reduce__(self) -> Any:  # what is cached stays in its process
    return type(self), self._given

  def sequences(self, indices: np.ndarray) -> Batch:
    """The rows at `indices`, of shape B, as `data.batch.BatchShape` tells.

    Segments are the pieces of documents in a row. The target of a document's
    last token is the separator of the next one.
    """
    indices = np.asarray(indices)
    batch = self._recipe.shape.empty(len(indices))
    epochs, rows = np.divmod(indices, self.rows_per_epoch)
    for epoch in np.unique(epochs):
      (in_epoch,) = np.nonzero(epochs == epoch)
      shards, windows = self._order.locate(int(epoch), rows[in_epoch])
      for shard in np.unique(shards):
        chosen = in_epoch[shards == shard]
        _fill(
          batch,
          chosen,
          self._store.shard(int(shard)),
          self._stream(int(epoch), int(shard)),
          windows[shards == shard],
          self._recipe,
          [(self._seed, int(epoch), 3, int(row)) for row in rows[chosen]],
        )
    return batch

  def _num_tokens(self, shard: int) -> int:
    if self._documents_K is None:
      return self._store.num_tokens_K[shard]
    lengths = self._store.shard(shard).lengths
    return int(lengths[self._documents_K[shard]].sum())

  def _draw_stream(self, epoch: int, shard: int) -> _Stream:
    lengths = self._store.shard(shard).lengths
    documents = np.arange(len(lengths), dtype=np.int32)
    if self._documents_K is not None:
      documents = self._documents_K[shard].astype(np.int32)
    order = permutation(len(documents), (self._seed, epoch, 0, shard))
    documents = documents[order]
    return _Stream(documents, np.cumsum(lengths[documents], dtype=np.int64))


class OrderedSplitRows:
  """The rows of one pass in the store's own order, for evaluation.

  Every token but the first of each shard, a separator, is a target exactly
  once; what is beyond the end has segment 0 and weight 0. What an objective
  draws is the same in every pass.
  """

  def __init__(self, store: TokenStore, recipe: Recipe, seed: int):
    self._store = store
    self._recipe = recipe
    self._seed = seed
    targets_K = np.array(store.num_tokens_K) - 1
    self._ends_K = np.cumsum(-(-targets_K // recipe.shape.length))
    self._stream = functools.lru_cache(maxsize=2)(self._find_stream)

  def __len__(self) -> int:
    return int(self._ends_K[-1])

  def sequences(self, indices: np.ndarray) -> Batch:
    """As `SplitRows.sequences`; an index of len(self) or more is padding."""
    indices = np.asarray(indices)
    batch = self._recipe.shape.empty(len(indices))
    shards = np.searchsorted(self._ends_K, indices, side='right')
    for number in np.unique(shards[indices < len(self)]):
      start = self._ends_K[number - 1] if number else 0
      (chosen,) = np.nonzero(shards == number)
      _fill(
        batch,
        chosen,
        self._store.shard(int(number)),
        self._stream(int(number)),
        indices[chosen] - start,
        self._recipe,
        [(self._seed, 0, 4, int(index)) for index in indices[chosen]],
      )
    return batch

  def _find_stream(self, shard: int) -> _Stream:
    lengths = self._store.shard(shard).lengths
    return _Stream(
      np.arange(len(lengths), dtype=np.int32),
      np.cumsum(lengths, dtype=np.int64),
    )


def _fill(
  batch: Batch,
  rows: np.ndarray,
  shard: Shard,
  stream: _Stream,
  windows: np.ndarray,
  recipe: Recipe,
  keys: Sequence[tuple[int, ...]],
) -> None:
  """Writes windows of a stream into rows of a batch."""
  length = recipe.shape.length
  for row, window, key in zip(rows, windows, keys, strict=True):
    start = int(window) * length
    stop = min(start + length + 1, int(stream.ends[-1]))
    first = int(np.searchsorted(stream.ends, start, side='right'))
    last = int(np.searchsorted(stream.ends, stop - 1, side='right'))
    documents_P = stream.documents[first : last + 1]
    ends_P = stream.ends[first : last + 1]
    begins_P = ends_P - shard.lengths[documents_P]
    from_P, to_P = np.maximum(begins_P, start), np.minimum(ends_P, stop)
    tokens = shard.read(documents_P, from_P - begins_P, to_P - begins_P)
    count = len(tokens) - 1
    example = recipe.objective.example(
      tokens.astype(np.int32), 0.0, recipe.generator(key)
    )
    batch['tokens'][row, :count] = example.tokens
    batch['targets'][row, :count] = example.targets
    batch['weights'][row, :count] = example.weights
    # Of the last piece the last token is a target alone; a piece that goes on
    # from the window before starts anew.
    sizes_P = to_P - from_P
    segments = np.repeat(np.arange(1, len(sizes_P) + 1), sizes_P)
    starts = np.repeat(from_P - start, sizes_P)
    batch['segment_ids'][row, :count] = segments[:count]
    batch['positions'][row, :count] = np.arange(count) - starts[:count]

"""Batches from token stores, read ahead by Grain's threads."""

from collections.abc import Iterator

import grain
import numpy as np

from data.config import DataConfig
from data.packing import Batch, OrderedRows, PackedRows
from data.tokens import TokenStore

_READ_AHEAD = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
_FOREVER = 2**62  # steps


class _GlobalBatches:
  """This process's rows of the global batch of each step, by step."""

  def __init__(self, packed: PackedRows, batch_size: int, rows: slice):
    self._packed = packed
    self._batch_size = batch_size
    self._rows = np.arange(batch_size)[rows]

  def __len__(self) -> int:
    return _FOREVER

  def __getitem__(self, step: int) -> Batch:
    return self._packed.sequences(step * self._batch_size + self._rows)

  def __repr__(self) -> str:
    return f'{type(self).__name__}(batch_size={self._batch_size})'


def train_batches(
  store: TokenStore,
  config: DataConfig,
  rows: slice = slice(None),
  first_step: int = 0,
) -> grain.DatasetIterator:
  """An endless iterator over steps, from `first_step` on.

  Its `get_state` holds the number of the next step and nothing else, so that a
  state taken by one number of processes fits any other.

  Args:
    store: the train split.
    config: its sequence_length, batch_size (rows over all processes) and seed
      decide the order.
    rows: of the global batch, those that this process feeds.
    first_step: what to begin with; 0 is the start of the first epoch.

  Raises:
    UserError: the text is shorter than one batch.
  """
  packed = PackedRows(
    store, config.sequence_length, config.batch_size, config.seed
  )
  source = _GlobalBatches(packed, config.batch_size, rows)
  data = grain.MapDataset.source(source)
  batches = iter(data.to_iter_dataset(read_options=_READ_AHEAD))
  batches.set_state({'next_index': first_step})
  return batches


def eval_batches(
  store: TokenStore,
  sequence_length: int,
  batch_size: int,
  num_sequences: int = 0,
  rows: slice = slice(None),
) -> Iterator[Batch]:
  """One pass over a split: every token of a document is a target once.

  Rows are as in training, but in the store's order. All batches are of one
  shape: the last is filled up with rows of weight 0.

  Args:
    store: the split.
    sequence_length: tokens of a row.
    batch_size: rows over all processes.
    num_sequences: this many rows, evenly spread over the split; 0 = all.
    rows: of each batch, those that this process feeds.
  """
  ordered = OrderedRows(store, sequence_length)
  count = min(num_sequences or len(ordered), len(ordered))
  chosen = np.arange(count) * len(ordered) // count
  padding = np.full(-count % batch_size, len(ordered))
  for indices_B in np.concatenate([chosen, padding]).reshape(-1, batch_size):
    yield ordered.sequences(indices_B[rows])

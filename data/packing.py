"""Which tokens stand in which row of which batch: index arithmetic alone.

An epoch is a stream: all documents in an order drawn from (seed, epoch), each a
separator and then its tokens. The stream is never built; a place in it is
looked up through the running sum of the documents' lengths. It is cut into
windows of L + 1 tokens that overlap by one, so that every token but the first
is a target exactly once. The windows are dealt out in a second order drawn from
(seed, epoch). What is left at the end of the stream, less than one global batch
of B windows, is dropped; the next epoch draws another order.
"""

import dataclasses
import functools

import numpy as np

from configs.errors import UserError
from data.tokens import TokenStore

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Epoch:
  """One order of the documents and of the windows.

  Attributes:
    ends: for each document in order, where in the stream the next one starts.
    shifts: for each document in order, its place in the store less that in the
      stream.
    windows: the window that each row of the epoch shows.
  """

  ends: np.ndarray
  shifts: np.ndarray
  windows: np.ndarray


class PackedRows:
  """The endless sequence of rows that training reads, by index.

  The global batch of step s is rows [s * B, (s + 1) * B): a pure function of
  the store, L, B, the seed and s. How many processes share it changes nothing.

  Attributes:
    rows_per_epoch: a multiple of B.
    dropped_tokens: of each epoch, at most B * L - 1.
  """

  def __init__(
    self, store: TokenStore, sequence_length: int, batch_size: int, seed: int
  ):
    """Takes L in tokens, and B in rows over all processes.

    Raises:
      UserError: the text is shorter than one batch.
    """
    self._store = store
    self._length = sequence_length
    self._seed = seed
    targets = store.num_tokens - 1  # the stream's first token is none
    batches = targets // (sequence_length * batch_size)
    if batches < 1:
      raise UserError(
        f'data.batch_size x data.sequence_length = {batch_size} x '
        f'{sequence_length} tokens is more than the {store.num_tokens} there '
        'are: lower either, or give more text'
      )
    self.rows_per_epoch = batches * batch_size
    self.dropped_tokens = targets - self.rows_per_epoch * sequence_length
    # the epoch at hand and the next one, which read-ahead may be in
    self._epoch = functools.lru_cache(maxsize=2)(self._draw_epoch)

  def sequences(self, indices: np.ndarray) -> Batch:
    """The rows at `indices`, of shape B.

    Returns:
      `tokens`, `targets`, `segment_ids`, `positions` (int32) and `weights`
      (float32), all of shape BxL. Segments are the pieces of documents in a
      row, counted from 1; positions count from 0 in each; weights are 1. The
      target of a document's last token is the separator of the next one.
    """
    epochs, rows = np.divmod(np.asarray(indices), self.rows_per_epoch)
    batch = _empty_batch(len(rows), self._length)
    for epoch in np.unique(epochs):
      chosen = epochs == epoch
      drawn = self._epoch(int(epoch))
      starts_B = drawn.windows[rows[chosen]] * self._length
      piece = _cut(
        self._store, drawn.ends, drawn.shifts, starts_B, self._length
      )
      for key, value in piece.items():
        batch[key][chosen] = value
    return batch

  def _draw_epoch(self, epoch: int) -> _Epoch:
    order = _permutation(self._store.num_documents, (self._seed, epoch, 0))
    ends, shifts = _stream(self._store.offsets, order)
    windows = _permutation(self.rows_per_epoch, (self._seed, epoch, 1))
    return _Epoch(ends, shifts, windows)


class OrderedRows:
  """The rows of one pass in the store's own order, for evaluation.

  Every token but the first, a separator, is a target exactly once; what is
  beyond the end has segment 0 and weight 0.
  """

  def __init__(self, store: TokenStore, sequence_length: int):
    self._store = store
    self._length = sequence_length
    order = np.arange(store.num_documents)
    self._ends, self._shifts = _stream(store.offsets, order)

  def __len__(self) -> int:
    return -(-(self._store.num_tokens - 1) // self._length)

  def sequences(self, indices: np.ndarray) -> Batch:
    """As `PackedRows.sequences`; an index of len(self) or more is padding."""
    indices = np.asarray(indices)
    batch = _empty_batch(len(indices), self._length)
    inside = indices < len(self)
    starts_B = indices[inside] * self._length
    piece = _cut(self._store, self._ends, self._shifts, starts_B, self._length)
    for key, value in piece.items():
      batch[key][inside] = value
    return batch


def _cut(
  store: TokenStore,
  ends: np.ndarray,
  shifts: np.ndarray,
  starts_B: np.ndarray,
  length: int,
) -> Batch:
  places_BxL1 = starts_B[:, None] + np.arange(length + 1)
  is_real_BxL = places_BxL1[:, 1:] < store.num_tokens
  places_BxL1 = np.minimum(places_BxL1, store.num_tokens - 1)
  documents_BxL1 = np.searchsorted(ends, places_BxL1, side='right')
  tokens_BxL1 = store.tokens[places_BxL1 + shifts[documents_BxL1]]
  documents_BxL = documents_BxL1[:, :-1]
  begins_BxL = np.where(documents_BxL > 0, ends[documents_BxL - 1], 0)
  # a piece that goes on from the window before starts anew
  begins_BxL = np.maximum(begins_BxL, starts_B[:, None])
  return {
    'tokens': tokens_BxL1[:, :-1] * is_real_BxL,
    'targets': tokens_BxL1[:, 1:] * is_real_BxL,
    'segment_ids': (documents_BxL - documents_BxL[:, :1] + 1) * is_real_BxL,
    'positions': (places_BxL1[:, :-1] - begins_BxL) * is_real_BxL,
    'weights': is_real_BxL,
  }


def _empty_batch(size: int, length: int) -> Batch:
  keys = ('tokens', 'targets', 'segment_ids', 'positions')
  return {
    **{key: np.zeros((size, length), np.int32) for key in keys},
    'weights': np.zeros((size, length), np.float32),
  }


def _stream(
  offsets: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Where documents end in the stream, and from stream to store places."""
  lengths = np.diff(offsets)[order]
  ends = np.cumsum(lengths)
  return ends, offsets[:-1][order] - (ends - lengths)


def _permutation(size: int, key: tuple[int, ...]) -> np.ndarray:
  """An order of `size` things, of bits that NumPy keeps fixed (NEP 19)."""
  bits = np.random.PCG64(np.random.SeedSequence(key)).random_raw(size)
  return np.argsort(bits, kind='stable')

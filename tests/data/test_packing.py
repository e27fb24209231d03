import collections

import numpy as np
import pytest

from configs.errors import UserError
from data import packing
from data.tokens import TokenStore

SEPARATOR = 0


def _store(lengths):
  """Documents of these many tokens, all tokens different but separators."""
  names = iter(range(1, 10_000))
  documents = [[SEPARATOR, *(next(names) for _ in range(n))] for n in lengths]
  return TokenStore(
    tokens=np.concatenate(documents).astype(np.uint16),
    offsets=np.cumsum([0, *map(len, documents)]),
    num_bytes=0,
  )


STORE = _store([5, 0, 1, 40, 3, 17, 2, 9, 30, 1, 8, 8, 21, 4])
L, B = 8, 3


@pytest.fixture(scope='module')
def packed():
  return packing.PackedRows(STORE, L, B, seed=7)


def _epoch(packed, epoch):
  rows = packed.rows_per_epoch
  return packed.sequences(np.arange(epoch * rows, (epoch + 1) * rows))


@pytest.mark.parametrize('epoch', [0, 1, 5])
def test_an_epoch_loses_and_repeats_nothing_but_its_tail(packed, epoch):
  batch = _epoch(packed, epoch)
  seen = collections.Counter(batch['targets'].ravel().tolist())
  everything = collections.Counter(STORE.tokens.tolist())
  missing = everything - seen
  assert not seen - everything
  # the first token of the stream is a separator and is no target
  assert missing[SEPARATOR] >= 1
  assert missing.total() == packed.dropped_tokens + 1
  assert packed.dropped_tokens < B * L
  # every input is the target before it, or the stream's first token
  inputs = collections.Counter(batch['tokens'].ravel().tolist())
  assert (inputs - everything).total() == 0


def test_counts(packed):
  targets = STORE.num_tokens - 1
  assert packed.rows_per_epoch % B == 0
  assert packed.rows_per_epoch * L + packed.dropped_tokens == targets


def test_targets_follow_tokens(packed):
  batch = _epoch(packed, 0)
  np.testing.assert_array_equal(
    batch['tokens'][:, 1:], batch['targets'][:, :-1]
  )
  place = {t: i for i, t in enumerate(STORE.tokens.tolist()) if t != SEPARATOR}
  separators = set(np.flatnonzero(STORE.tokens == SEPARATOR).tolist())
  separators.add(STORE.num_tokens)
  for token, target in zip(
    batch['tokens'].ravel(), batch['targets'].ravel(), strict=True
  ):
    if token != SEPARATOR:
      after = place[token] + 1
      if target == SEPARATOR:
        assert after in separators  # the end of a document is learnt
      else:
        assert place[target] == after


def test_no_segment_crosses_a_document(packed):
  document_of = {
    int(token): document
    for document in range(STORE.num_documents)
    for token in STORE.tokens[
      STORE.offsets[document] + 1 : STORE.offsets[document + 1]
    ]
  }
  batch = _epoch(packed, 3)
  for row in range(packed.rows_per_epoch):
    tokens, segments, positions = (
      batch[key][row] for key in ('tokens', 'segment_ids', 'positions')
    )
    assert segments[0] == 1
    starts = np.flatnonzero(np.diff(segments, prepend=0))
    assert set(np.diff(segments)) <= {0, 1}
    for start, end in zip(starts, [*starts[1:], L], strict=True):
      np.testing.assert_array_equal(positions[start:end], range(end - start))
      inner = [document_of[int(t)] for t in tokens[start:end] if t != SEPARATOR]
      assert len(set(inner)) <= 1
      assert SEPARATOR not in tokens[start + 1 : end]
      assert start == 0 or tokens[start] == SEPARATOR
  assert (batch['weights'] == 1).all()


def test_a_row_by_hand():
  # the stream in either order: 0 1 2 0 3 or 0 3 0 1 2
  packed = packing.PackedRows(_store([2, 1]), 4, 1, seed=0)
  batch = packed.sequences(np.array([0]))
  first = batch['tokens'][0].tolist() == [0, 1, 2, 0]
  expected = {
    'tokens': [0, 1, 2, 0] if first else [0, 3, 0, 1],
    'targets': [1, 2, 0, 3] if first else [3, 0, 1, 2],
    'segment_ids': [1, 1, 1, 2] if first else [1, 1, 2, 2],
    'positions': [0, 1, 2, 0] if first else [0, 1, 0, 1],
    'weights': [1, 1, 1, 1],
  }
  assert {k: v[0].tolist() for k, v in batch.items()} == expected
  types = {k: v.dtype for k, v in batch.items()}
  assert types.pop('weights') == np.float32
  assert set(types.values()) == {np.dtype(np.int32)}


def test_epochs_and_seeds_differ(packed):
  first, second = (_epoch(packed, e)['tokens'] for e in (0, 1))
  assert (first != second).any()
  other = packing.PackedRows(STORE, L, B, seed=8)
  assert (_epoch(other, 0)['tokens'] != first).any()
  again = packing.PackedRows(STORE, L, B, seed=7)
  np.testing.assert_array_equal(_epoch(again, 0)['tokens'], first)


def test_rows_in_any_order_and_over_epochs(packed):
  rows = packed.rows_per_epoch
  indices = np.array([2 * rows, 3, rows + 1, 3, 0])
  batch = packed.sequences(indices)
  for i, index in enumerate(indices):
    alone = packed.sequences(np.array([index]))
    for key in batch:
      np.testing.assert_array_equal(batch[key][i], alone[key][0])


def test_order_never_changes():
  # Golden: if it moved, runs of before would resume on other data. It may
  # change only together with a note that they cannot be resumed.
  assert packing._permutation(5, (1, 2, 3)).tolist() == [1, 3, 2, 0, 4]


def test_too_little_text():
  with pytest.raises(UserError, match='more than the 158 there are'):
    packing.PackedRows(_store([157]), 16, 10, seed=0)


def test_evaluation_sees_every_token_once():
  ordered = packing.OrderedRows(STORE, L)
  batch = ordered.sequences(np.arange(len(ordered) + 2))
  counted = batch['weights'] == 1
  np.testing.assert_array_equal(batch['targets'][counted], STORE.tokens[1:])
  np.testing.assert_array_equal(batch['tokens'][counted], STORE.tokens[:-1])
  for key in ('tokens', 'targets', 'segment_ids', 'positions'):
    assert (batch[key][~counted] == 0).all()
  assert not counted[-2:].any()
  assert (batch['segment_ids'][counted] > 0).all()

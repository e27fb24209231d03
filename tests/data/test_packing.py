import collections
import itertools
import pickle

import numpy as np
import pytest

from configs.errors import UserError
from data import objectives, packing
from data.batch import BatchShape
from data.objectives.base import ObjectiveConfig, Vocabulary
from data.recipe import Recipe

SEPARATOR = 0
L, B = 8, 3
LENGTHS = [5, 0, 1, 40, 3, 17, 2, 9, 30, 1, 8, 8, 21, 4]


def _recipe(length, batch_size=B, kind='causal', architecture='decoder'):
  vocabulary = Vocabulary(
    size=60_000,
    separator_id=SEPARATOR,
    ordinary=np.arange(1, 59_000, dtype=np.int32),
    starts_word_V=np.ones(60_000, bool),
    ids={'[MASK]': 59_999},
  )
  objective = objectives.make(
    ObjectiveConfig(kind=kind), architecture, vocabulary, SEPARATOR
  )
  shape = BatchShape(batch_size, length)
  return Recipe(objective, shape, length, SEPARATOR)


@pytest.fixture(scope='module')
def store(make_store):
  return make_store(LENGTHS)


@pytest.fixture(scope='module')
def documents(store):
  return [document.tolist() for document in store.documents()]


@pytest.fixture(scope='module')
def packed(store):
  return packing.SplitRows(store, _recipe(L), B, seed=7)


def _epoch(packed, epoch):
  rows = packed.rows_per_epoch
  return packed.sequences(np.arange(epoch * rows, (epoch + 1) * rows))


@pytest.mark.parametrize('epoch', [0, 1, 5])
def test_an_epoch_loses_and_repeats_nothing_but_its_tail(
  packed, documents, epoch
):
  batch = _epoch(packed, epoch)
  seen = collections.Counter(batch['targets'].ravel().tolist())
  everything = collections.Counter(itertools.chain(*documents))
  missing = everything - seen
  assert not seen - everything
  # the first token of the stream is a separator and is no target
  assert missing[SEPARATOR] >= 1
  assert missing.total() == packed.dropped_tokens + 1
  assert packed.dropped_tokens < B * L
  # every input is the target before it, or the stream's first token
  inputs = collections.Counter(batch['tokens'].ravel().tolist())
  assert (inputs - everything).total() == 0


def test_counts(packed, store):
  targets = store.num_tokens - 1
  assert packed.rows_per_epoch % B == 0
  assert packed.rows_per_epoch * L + packed.dropped_tokens == targets


def test_targets_follow_tokens(packed, documents):
  batch = _epoch(packed, 0)
  np.testing.assert_array_equal(
    batch['tokens'][:, 1:], batch['targets'][:, :-1]
  )
  after = {
    a: b
    for document in documents
    for a, b in zip(document[1:], [*document[2:], SEPARATOR], strict=False)
  }
  for token, target in zip(
    batch['tokens'].ravel().tolist(),
    batch['targets'].ravel().tolist(),
    strict=True,
  ):
    # the end of a document is learnt
    assert token == SEPARATOR or target == after[token]


def test_no_segment_crosses_a_document(packed, documents):
  document_of = {
    token: number
    for number, document in enumerate(documents)
    for token in document[1:]
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


def test_a_row_by_hand(make_store):
  # the stream in either order: 0 1 2 0 3 or 0 3 0 1 2
  packed = packing.SplitRows(make_store([2, 1]), _recipe(4, 1), 1, seed=0)
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


def test_epochs_and_seeds_differ(packed, store):
  first, second = (_epoch(packed, e)['tokens'] for e in (0, 1))
  assert (first != second).any()
  other = packing.SplitRows(store, _recipe(L), B, seed=8)
  assert (_epoch(other, 0)['tokens'] != first).any()
  again = packing.SplitRows(store, _recipe(L), B, seed=7)
  np.testing.assert_array_equal(_epoch(again, 0)['tokens'], first)


def test_rows_in_any_order_and_over_epochs(packed):
  rows = packed.rows_per_epoch
  indices = np.array([2 * rows, 3, rows + 1, 3, 0])
  batch = packed.sequences(indices)
  for i, index in enumerate(indices):
    alone = packed.sequences(np.array([index]))
    for key in batch:
      np.testing.assert_array_equal(batch[key][i], alone[key][0])


def test_another_process_gets_the_same(packed):
  again = pickle.loads(pickle.dumps(packed))
  np.testing.assert_array_equal(
    _epoch(again, 1)['targets'], _epoch(packed, 1)['targets']
  )


def test_shards_lose_less_than_a_row_each(make_store):
  store = make_store(*([n] * 3 for n in LENGTHS))
  packed = packing.SplitRows(store, _recipe(L, 1), 1, seed=0)
  rows = sum((3 * (n + 1) - 1) // L for n in LENGTHS)
  assert packed.rows_per_epoch == rows
  targets = _epoch(packed, 0)['targets']
  ordinary = targets[targets != SEPARATOR]
  assert len(set(ordinary.tolist())) == len(ordinary)
  assert packed.dropped_tokens < L * len(LENGTHS)


def test_only_the_documents_of_a_subset(store, documents):
  chosen = np.array([3, 8, 12])
  packed = packing.SplitRows(store, _recipe(L), B, 0, [chosen])
  tokens = set(_epoch(packed, 0)['tokens'].ravel().tolist())
  allowed = {token for number in chosen for token in documents[number]}
  assert tokens <= allowed
  assert packed.rows_per_epoch == (41 + 31 + 22 - 1) // L // B * B


def test_too_little_text(make_store):
  with pytest.raises(UserError, match='more than the 158 there are'):
    packing.SplitRows(make_store([157]), _recipe(16, 10), 10, seed=0)


def test_evaluation_sees_every_token_once(store, documents):
  ordered = packing.OrderedSplitRows(store, _recipe(L), 0)
  batch = ordered.sequences(np.arange(len(ordered) + 2))
  counted = batch['weights'] == 1
  everything = np.concatenate(documents)
  np.testing.assert_array_equal(batch['targets'][counted], everything[1:])
  np.testing.assert_array_equal(batch['tokens'][counted], everything[:-1])
  for key in ('tokens', 'targets', 'segment_ids', 'positions'):
    assert (batch[key][~counted] == 0).all()
  assert not counted[-2:].any()
  assert (batch['segment_ids'][counted] > 0).all()


def test_masks_of_a_row_are_its_own_and_new_in_every_epoch(store, documents):
  recipe = _recipe(L, kind='masked', architecture='encoder')
  packed = packing.SplitRows(store, recipe, B, seed=7)
  batch, again = _epoch(packed, 0), _epoch(packed, 0)
  for key in batch:
    np.testing.assert_array_equal(batch[key], again[key])
  masked = batch['weights'] == 1
  assert (batch['tokens'][~masked] == batch['targets'][~masked]).all()
  assert 0.1 < masked.mean() < 0.2
  rows = packed.rows_per_epoch
  alone = packed.sequences(np.array([5, rows + 5]))
  np.testing.assert_array_equal(alone['weights'][0], batch['weights'][5])
  plain = _epoch(packing.SplitRows(store, _recipe(L), B, seed=7), 0)
  np.testing.assert_array_equal(plain['tokens'], batch['targets'])

  ordered = packing.OrderedSplitRows(store, recipe, 0)
  two = [ordered.sequences(np.arange(len(ordered))) for _ in range(2)]
  np.testing.assert_array_equal(two[0]['tokens'], two[1]['tokens'])

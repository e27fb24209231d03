import dataclasses
import json

import numpy as np
import pytest

from data import packing, pipeline


@pytest.fixture(scope='module')
def store(small_corpus):
  return small_corpus.stores['train']


def _take(iterator, count):
  return [next(iterator) for _ in range(count)]


def _assert_equal(batches, others):
  for batch, other in zip(batches, others, strict=True):
    assert batch.keys() == other.keys()
    for key in batch:
      np.testing.assert_array_equal(batch[key], other[key])


def test_steps_are_rows_of_the_packing(store, data_config):
  packed = packing.PackedRows(
    store,
    data_config.sequence_length,
    data_config.batch_size,
    data_config.seed,
  )
  steps = packed.rows_per_epoch // data_config.batch_size
  iterator = pipeline.train_batches(store, data_config, first_step=steps - 2)
  for step in range(steps - 2, steps + 2):  # into the second epoch
    expected = packed.sequences(np.arange(step * 8, step * 8 + 8))
    _assert_equal([next(iterator)], [expected])


@pytest.mark.parametrize('processes', [1, 2, 4])
def test_processes_share_one_batch(store, data_config, processes):
  whole = _take(pipeline.train_batches(store, data_config), 5)
  each = 8 // processes
  parts = [
    _take(
      pipeline.train_batches(
        store, data_config, slice(p * each, (p + 1) * each)
      ),
      5,
    )
    for p in range(processes)
  ]
  for step, batch in enumerate(whole):
    for key, value in batch.items():
      np.testing.assert_array_equal(
        np.concatenate([part[step][key] for part in parts]), value
      )


def test_state_resumes_exactly(store, data_config):
  undisturbed = _take(pipeline.train_batches(store, data_config), 9)
  iterator = pipeline.train_batches(store, data_config)
  _take(iterator, 4)
  state = json.loads(json.dumps(iterator.get_state()))
  _take(iterator, 2)
  iterator.set_state(state)
  _assert_equal(_take(iterator, 5), undisturbed[4:])
  # by another number of processes, in a new iterator
  half = pipeline.train_batches(store, data_config, slice(4, 8))
  half.set_state(state)
  np.testing.assert_array_equal(
    next(half)['tokens'], undisturbed[4]['tokens'][4:]
  )


def test_state_is_the_step(store, data_config):
  iterator = pipeline.train_batches(store, data_config, slice(0, 2))
  _take(iterator, 3)
  jumped = pipeline.train_batches(store, data_config, first_step=3)
  assert iterator.get_state() == jumped.get_state()
  _assert_equal([{k: v[:2] for k, v in next(jumped).items()}], [next(iterator)])


def test_seed_changes_the_order(store, data_config):
  other = dataclasses.replace(data_config, seed=1)
  first = next(pipeline.train_batches(store, data_config))['tokens']
  assert (next(pipeline.train_batches(store, other))['tokens'] != first).any()


def test_evaluation_of_all(small_corpus):
  store = small_corpus.stores['test']
  batches = list(pipeline.eval_batches(store, 16, 8))
  assert {b['tokens'].shape for b in batches} == {(8, 16)}
  targets = np.concatenate([b['targets'][b['weights'] == 1] for b in batches])
  np.testing.assert_array_equal(targets, store.tokens[1:])
  total = small_corpus.tokenizer.token_bytes[targets].sum()
  assert total == store.num_bytes


def test_evaluation_of_some(small_corpus):
  store = small_corpus.stores['test']
  rows = np.concatenate(
    [b['tokens'] for b in pipeline.eval_batches(store, 16, 8)]
  )
  count = -(-(store.num_tokens - 1) // 16)
  some = list(pipeline.eval_batches(store, 16, 4, num_sequences=5))
  assert len(some) == 2
  chosen = np.concatenate([b['tokens'] for b in some])
  expected = [i * count // 5 for i in range(5)]
  np.testing.assert_array_equal(chosen[:5], rows[expected])
  assert not some[1]['weights'][1:].any()
  parts = [
    next(pipeline.eval_batches(store, 16, 4, 5, rows=slice(p, p + 2)))
    for p in (0, 2)
  ]
  np.testing.assert_array_equal(
    np.concatenate([p['tokens'] for p in parts]), some[0]['tokens']
  )

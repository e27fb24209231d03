import dataclasses
import json
import shutil

import numpy as np
import pytest

from configs.errors import UserError
from data import corpus as corpora
from data import packing, pipeline
from data.interventions import InterventionConfig
from data.mixture import MixtureConfig
from data.objectives.base import ObjectiveConfig
from data.recipe import make_recipe

TOKENS = 'tokens'


@pytest.fixture(scope='module')
def recipe(small_corpus, data_config):
  return make_recipe(data_config, small_corpus.tokenizer)


@pytest.fixture(scope='module')
def rows(small_corpus, data_config, recipe):
  return pipeline.train_rows(small_corpus, data_config, recipe)


def _take(iterator, count):
  return [next(iterator) for _ in range(count)]


def _assert_equal(batches, others):
  for batch, other in zip(batches, others, strict=True):
    assert batch.keys() == other.keys()
    for key in batch:
      np.testing.assert_array_equal(batch[key], other[key])


def test_steps_are_rows_of_the_packing(small_corpus, data_config, recipe, rows):
  packed = packing.SplitRows(
    small_corpus.stores['train'][0],
    recipe,
    data_config.batch_size,
    data_config.seed,
  )
  steps = packed.rows_per_epoch // data_config.batch_size
  iterator = pipeline.train_batches(rows, data_config, first_step=steps - 2)
  for step in range(steps - 2, steps + 2):  # into the second epoch
    expected = packed.sequences(np.arange(step * 8, step * 8 + 8))
    _assert_equal([next(iterator)], [expected])


@pytest.mark.parametrize('processes', [1, 2, 4])
def test_processes_share_one_batch(data_config, rows, processes):
  whole = _take(pipeline.train_batches(rows, data_config), 5)
  each = 8 // processes
  parts = [
    _take(
      pipeline.train_batches(
        rows, data_config, slice(p * each, (p + 1) * each)
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


def test_state_resumes_exactly(data_config, rows):
  undisturbed = _take(pipeline.train_batches(rows, data_config), 9)
  iterator = pipeline.train_batches(rows, data_config)
  _take(iterator, 4)
  state = json.loads(json.dumps(iterator.get_state()))
  _take(iterator, 2)
  iterator.set_state(state)
  _assert_equal(_take(iterator, 5), undisturbed[4:])
  # by another number of processes, in a new iterator
  half = pipeline.train_batches(rows, data_config, slice(4, 8))
  half.set_state(state)
  np.testing.assert_array_equal(next(half)[TOKENS], undisturbed[4][TOKENS][4:])


def test_state_is_the_step(data_config, rows):
  iterator = pipeline.train_batches(rows, data_config, slice(0, 2))
  _take(iterator, 3)
  jumped = pipeline.train_batches(rows, data_config, first_step=3)
  assert iterator.get_state() == jumped.get_state() == {'next_index': 3}
  _assert_equal([{k: v[:2] for k, v in next(jumped).items()}], [next(iterator)])


def test_workers_change_nothing(data_config, rows):
  alone = _take(pipeline.train_batches(rows, data_config, first_step=3), 6)
  two = dataclasses.replace(data_config, num_workers=2)
  iterator = pipeline.train_batches(rows, two, first_step=3)
  _assert_equal(_take(iterator, 4), alone[:4])
  state = iterator.get_state()
  assert state == {'next_index': 7}
  resumed = pipeline.train_batches(rows, data_config)
  resumed.set_state(state)
  _assert_equal(_take(resumed, 2), alone[4:])


def test_seed_changes_the_order(small_corpus, data_config, recipe, rows):
  other = dataclasses.replace(data_config, seed=1)
  first = next(pipeline.train_batches(rows, data_config))[TOKENS]
  again = pipeline.train_rows(small_corpus, other, recipe)
  assert (next(pipeline.train_batches(again, other))[TOKENS] != first).any()


def _evaluated(corpus, config, recipe, batch_size=8, **options):
  return list(
    pipeline.eval_batches(corpus, 'test', config, recipe, batch_size, **options)
  )


def _stored(corpus, split):
  return np.concatenate(
    [d for store in corpus.stores[split] for d in store.documents()]
  )


def test_evaluation_of_all(small_corpus, data_config, recipe):
  batches = _evaluated(small_corpus, data_config, recipe)
  assert {b[TOKENS].shape for b in batches} == {(8, 16)}
  targets = np.concatenate([b['targets'][b['weights'] == 1] for b in batches])
  np.testing.assert_array_equal(targets, _stored(small_corpus, 'test')[1:])
  total = small_corpus.tokenizer.token_bytes[targets].sum()
  assert total == small_corpus.stores['test'][0].num_bytes


def test_evaluation_of_some(small_corpus, data_config, recipe):
  rows = np.concatenate(
    [b[TOKENS] for b in _evaluated(small_corpus, data_config, recipe)]
  )
  count = -(-(small_corpus.stores['test'][0].num_tokens - 1) // 16)
  some = _evaluated(small_corpus, data_config, recipe, 4, num_sequences=5)
  assert len(some) == 2
  chosen = np.concatenate([b[TOKENS] for b in some])
  expected = [i * count // 5 for i in range(5)]
  np.testing.assert_array_equal(chosen[:5], rows[expected])
  assert not some[1]['weights'][1:].any()
  parts = [
    _evaluated(
      small_corpus,
      data_config,
      recipe,
      4,
      num_sequences=5,
      own=slice(p, p + 2),
    )[0]
    for p in (0, 2)
  ]
  np.testing.assert_array_equal(
    np.concatenate([p[TOKENS] for p in parts]), some[0][TOKENS]
  )


def test_whole_documents_side_by_side(small_corpus, data_config):
  fit = dataclasses.replace(data_config, packing='fit', sequence_length=64)
  recipe = make_recipe(fit, small_corpus.tokenizer)
  batches = _evaluated(small_corpus, fit, recipe)
  targets = sum(int(batch['weights'].sum()) for batch in batches)
  assert targets == small_corpus.stores['test'][0].num_tokens
  rows = pipeline.train_rows(small_corpus, fit, recipe)
  batch = next(pipeline.train_batches(rows, fit))
  starts = batch['positions'] == 0
  inside = batch['segment_ids'] > 0
  assert (
    batch[TOKENS][starts & inside] == small_corpus.tokenizer.separator_id
  ).mean() > 0.5


def test_unique_tokens_are_read_again_and_again(small_corpus, data_config):
  few = dataclasses.replace(data_config, unique_tokens=800)
  more = dataclasses.replace(data_config, unique_tokens=2000)
  recipe = make_recipe(few, small_corpus.tokenizer)
  seen = []
  for config in (few, more):
    rows = pipeline.train_rows(small_corpus, config, recipe)
    assert config.unique_tokens / 16 - 8 <= rows.rows_per_epoch
    assert rows.rows_per_epoch <= config.unique_tokens / 16 + 8
    windows = rows.sequences(np.arange(rows.rows_per_epoch))
    ids = {tuple(p) for p in _pairs(windows)}
    seen.append(ids)
  assert len(seen[0] & seen[1]) > 0.9 * len(seen[0])
  with pytest.raises(UserError, match=r'data\.unique_tokens'):
    huge = dataclasses.replace(data_config, unique_tokens=10**9)
    pipeline.train_rows(small_corpus, huge, recipe)


def _pairs(batch):
  return zip(
    batch[TOKENS].ravel().tolist(),
    batch['targets'].ravel().tolist(),
    strict=True,
  )


@pytest.fixture(scope='module')
def two_sources(data_config, text_dir):
  source = f'files:{text_dir}/kitchen.jsonl;files:{text_dir}/harbour.jsonl'
  config = dataclasses.replace(
    data_config,
    source=source,
    mixture=MixtureConfig(weights=(0.7, 0.3)),
  )
  return config, corpora.prepare(config)


def _share_of_kitchen(batch, corpus):
  """By the words of a row; those of none are left out."""
  texts = [corpus.tokenizer.decode(row) for row in batch[TOKENS]]
  kitchen = ('bread', 'butter', 'flour', 'kitchen', 'knife', 'oven', 'salt')
  harbour = ('anchor', 'boat', 'gull', 'harbour', 'mast', 'rope', 'tide')
  votes = [
    sum(w in text for w in kitchen) - sum(w in text for w in harbour)
    for text in texts
  ]
  return np.mean([vote > 0 for vote in votes if vote])


def test_sources_are_mixed_as_asked(two_sources):
  config, corpus = two_sources
  assert [len(stores) for stores in corpus.stores.values()] == [2, 2, 2]
  recipe = make_recipe(config, corpus.tokenizer)
  rows = pipeline.train_rows(corpus, config, recipe)
  batch = rows.sequences(np.arange(400))
  assert abs(_share_of_kitchen(batch, corpus) - 0.7) < 0.03
  again = pipeline.train_batches(rows, config, first_step=10)
  np.testing.assert_array_equal(next(again)[TOKENS], batch[TOKENS][80:88])
  documents = corpus.documents('train')
  assert len(documents) == sum(s.num_documents for s in corpus.stores['train'])
  assert documents[0]['text'].startswith('In the kitchen')
  assert documents[-1]['text'].startswith('In the harbour')


def test_a_mixture_has_the_weights_it_was_published_with(
  two_sources, monkeypatch
):
  config, corpus = two_sources
  config = dataclasses.replace(config, mixture=MixtureConfig())
  recipe = make_recipe(config, corpus.tokenizer)
  by_size = pipeline.train_rows(corpus, config, recipe)
  monkeypatch.setattr(
    pipeline.sources, 'published_weights', {config.source: (0.9, 0.1)}.get
  )
  published = pipeline.train_rows(corpus, config, recipe)
  shares = [
    _share_of_kitchen(rows.sequences(np.arange(400)), corpus)
    for rows in (by_size, published)
  ]
  assert abs(shares[0] - 0.5) < 0.1
  assert abs(shares[1] - 0.9) < 0.03


def test_evaluation_goes_through_all_sources(two_sources):
  config, corpus = two_sources
  recipe = make_recipe(config, corpus.tokenizer)
  batches = _evaluated(corpus, config, recipe)
  counted = sum(int(batch['weights'].sum()) for batch in batches)
  assert counted == sum(s.num_tokens - 1 for s in corpus.stores['test'])


def test_caps_end_a_mixture(two_sources):
  config, corpus = two_sources
  capped = dataclasses.replace(
    config, mixture=MixtureConfig(weights=(0.7, 0.3), max_epochs=(1.0, 1.0))
  )
  recipe = make_recipe(capped, corpus.tokenizer)
  rows = pipeline.train_rows(corpus, capped, recipe)
  total = rows.rows_per_epoch
  pipeline.train_rows(corpus, capped, recipe, num_rows=total)
  with pytest.raises(UserError, match=r'data\.mixture\.max_epochs'):
    pipeline.train_rows(corpus, capped, recipe, num_rows=total + 1)


@pytest.mark.parametrize(
  ('kind', 'architecture', 'keys'),
  [
    ('masked', 'encoder', set()),
    ('spans', 'encoder_decoder', {'source_tokens'}),
    ('ul2', 'decoder', {'prefix'}),
    ('prefix', 'encoder_decoder', {'source_tokens'}),
    ('middle', 'decoder', set()),
  ],
)
def test_every_objective_through_the_pipeline(
  data_config, kind, architecture, keys
):
  config = dataclasses.replace(
    data_config,
    objective=ObjectiveConfig(kind=kind),
    packing='fit',
    sequence_length=32,
    vocab_size=340,
  )
  corpus = corpora.prepare(config)
  assert corpus.tokenizer.vocab_size <= 340
  recipe = make_recipe(config, corpus.tokenizer, architecture)
  rows = pipeline.train_rows(corpus, config, recipe)
  batch = next(pipeline.train_batches(rows, config))
  assert keys <= batch.keys()
  assert {key: (value.shape, value.dtype) for key, value in batch.items()} == {
    key: (shape, np.dtype(dtype))
    for key, (shape, dtype) in recipe.shape.arrays().items()
  }
  assert batch['weights'].sum() > 0
  state = pipeline.train_batches(rows, config, slice(0, 4), first_step=9)
  later = pipeline.train_batches(rows, config)
  _take(later, 9)
  np.testing.assert_array_equal(next(state)[TOKENS], next(later)[TOKENS][:4])


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'objective': ObjectiveConfig(kind='prefix')}, r"data\.packing = 'fit'"),
    (
      {'mixture': MixtureConfig(weights=(0.5, 0.5))},
      r'data\.mixture\.weights = \(0.5, 0.5\): one for each of the 1',
    ),
    (
      {'mixture': MixtureConfig(stages=((0, 1.0), (9, 1.0, 2.0)))},
      r'data\.mixture\.stages',
    ),
    (
      {
        'unique_tokens': 9,
        'interventions': InterventionConfig(duplicate_share=0.5),
      },
      'would count as unique',
    ),
    ({'source': 'files:a;files:b', 'unique_tokens': 9}, 'single source'),
  ],
)
def test_what_does_not_go_together(data_config, changes, message):
  with pytest.raises(UserError, match=message):
    dataclasses.replace(data_config, **changes).validate()


def test_sources_draw_numbers_of_their_own(data_config, text_dir, tmp_path):
  for name in ('a', 'b'):  # the same text twice
    (tmp_path / name).mkdir()
    shutil.copy(text_dir / 'kitchen.jsonl', tmp_path / name)
  config = dataclasses.replace(
    data_config,
    source=f'files:{tmp_path}/a/*.jsonl;files:{tmp_path}/b/*.jsonl',
    mixture=MixtureConfig(weights=(1.0, 1.0)),
  )
  corpus = corpora.prepare(config)
  first, second = corpus.stores['train']
  np.testing.assert_array_equal(
    np.concatenate(list(first.documents())),
    np.concatenate(list(second.documents())),
  )
  rows = pipeline.train_rows(
    corpus, config, make_recipe(config, corpus.tokenizer)
  )
  one, other = (part.sequences(np.arange(20))[TOKENS] for part in rows._parts)
  assert (one != other).mean() > 0.5


@pytest.mark.parametrize('kind', ['prefix', 'masked'])
def test_what_is_measured_on_knows_no_seed(data_config, kind):
  config = dataclasses.replace(
    data_config,
    objective=ObjectiveConfig(kind=kind),
    packing='fit',
    sequence_length=32,
    vocab_size=340,
  )
  corpus = corpora.prepare(config)
  recipe = make_recipe(
    config,
    corpus.tokenizer,
    'encoder' if kind == 'masked' else 'encoder_decoder',
  )
  one, other = (
    _evaluated(corpus, dataclasses.replace(config, seed=seed), recipe)
    for seed in (0, 1)
  )
  _assert_equal(one, other)

import collections
import pickle

import numpy as np
import pytest

from configs.errors import UserError
from data import fitting, objectives
from data.batch import BatchShape
from data.objectives.base import ObjectiveConfig, Vocabulary
from data.recipe import Recipe

SEPARATOR = 0
LENGTHS = [5, 0, 1, 40, 3, 17, 2, 9, 30, 1, 8, 8, 21, 4]
SENTINELS = {f'<extra_id_{i}>': 59_000 + i for i in range(40)}
MODES = {f'[{name}]': 59_100 + i for i, name in enumerate('RXS')}
VOCABULARY = Vocabulary(
  size=60_000,
  separator_id=SEPARATOR,
  ordinary=np.arange(1, 59_000, dtype=np.int32),
  starts_word_V=np.ones(60_000, bool),
  ids={'[MASK]': 59_999, **SENTINELS, **MODES},
)


def _recipe(kind='causal', architecture='decoder', length=16, source=0):
  objective = objectives.make(
    ObjectiveConfig(kind=kind), architecture, VOCABULARY, SEPARATOR
  )
  piece = objectives.longest_piece(objective, source, length)
  has_prefix = architecture == 'decoder' and kind != 'causal'
  shape = BatchShape(2, length, source, has_prefix)
  return Recipe(objective, shape, piece, SEPARATOR)


CASES = {
  'causal': _recipe(),
  'masked': _recipe('masked', 'encoder'),
  'spans': _recipe('spans', 'encoder_decoder', 12, 24),
  'spans of a decoder': _recipe('spans', length=24),
  'prefix': _recipe('prefix', 'encoder_decoder', 20, 20),
}


@pytest.fixture(scope='module')
def store(make_store):
  return make_store(LENGTHS[:5], LENGTHS[5:])


def _plans(store, recipe):
  return [
    fitting.make_plan(
      store.shard(k).lengths,
      np.arange(store.num_documents_K[k]),
      recipe,
      (0, k),
    )
    for k in range(2)
  ]


@pytest.fixture(params=CASES)
def recipe(request):
  return CASES[request.param]


def _segments(batch, recipe):
  """Examples by row and segment."""
  from data.objectives.base import Example

  for row in range(len(batch['tokens'])):
    for segment in range(1, batch['segment_ids'][row].max() + 1):
      own = batch['segment_ids'][row] == segment
      source = prefix = None
      if recipe.shape.source_length:
        theirs = batch['source_segment_ids'][row] == segment
        source = batch['source_tokens'][row][theirs]
        positions = batch['source_positions'][row][theirs]
        assert positions.tolist() == list(range(len(source)))
      if recipe.shape.has_prefix:
        prefix = batch['prefix'][row][own].astype(bool)
      positions = batch['positions'][row][own]
      assert positions.tolist() == list(range(own.sum()))
      yield Example(
        batch['tokens'][row][own],
        batch['targets'][row][own],
        batch['weights'][row][own],
        prefix,
        source,
      )


def test_rows_hold_all_text_once(store, recipe):
  rows = fitting.OrderedFitRows(store, recipe, _plans(store, recipe), 0)
  batch = rows.sequences(np.arange(len(rows)))
  assert {key: value.shape[1] for key, value in batch.items()} == {
    key: shape[1] for key, (shape, _) in recipe.shape.arrays().items()
  }
  found = collections.Counter(
    tuple(recipe.objective.original(example).tolist())
    for example in _segments(batch, recipe)
  )
  expected = collections.Counter(
    tuple(document[start : start + recipe.piece_length].tolist())
    for document in store.documents()
    for start in range(0, len(document), recipe.piece_length)
  )
  assert found == expected
  for key in ('tokens', 'targets', 'weights', 'positions'):
    assert (batch[key][batch['segment_ids'] == 0] == 0).all()


def test_an_epoch_is_every_row_once(store, recipe):
  plans = _plans(store, recipe)
  rows = fitting.FitRows(store, recipe, 1, seed=3, plans=plans)
  for epoch in (0, 2):
    indices = np.arange(rows.rows_per_epoch) + epoch * rows.rows_per_epoch
    batch = rows.sequences(indices)
    found = collections.Counter(
      tuple(recipe.objective.original(example).tolist())
      for example in _segments(batch, recipe)
    )
    assert found.total() == sum(len(plan.documents_P) for plan in plans)
    again = pickle.loads(pickle.dumps(rows)).sequences(indices)
    for key in batch:
      np.testing.assert_array_equal(batch[key], again[key])


def test_a_batch_may_span_two_epochs_so_that_none_loses_text(store):
  recipe = CASES['causal']
  plans = _plans(store, recipe)
  total = sum(len(plan.ends_R) for plan in plans)
  rows = fitting.FitRows(store, recipe, total - 1, 0, plans)
  assert rows.rows_per_epoch == total
  both = rows.sequences(np.arange(2 * total))['tokens']
  for epoch in (both[:total], both[total:]):
    assert len({row.tobytes() for row in epoch}) == total


def test_a_document_ends_with_the_separator_and_goes_on_without(make_store):
  recipe = CASES['causal']
  store = make_store([20])
  plan = fitting.make_plan(store.shard(0).lengths, np.arange(1), recipe, (0, 0))
  rows = fitting.OrderedFitRows(store, recipe, [plan], 0)
  batch = rows.sequences(np.arange(2))
  (document,) = store.documents()
  np.testing.assert_array_equal(batch['tokens'][0], document[:16])
  np.testing.assert_array_equal(batch['targets'][0], document[1:17])
  np.testing.assert_array_equal(batch['tokens'][1, :5], document[16:])
  np.testing.assert_array_equal(batch['targets'][1, :4], document[17:])
  assert batch['targets'][1, 4] == SEPARATOR
  assert batch['weights'].sum() == 21


def test_noise_is_new_in_every_epoch_unless_it_is_static(store):
  recipe = CASES['masked']
  plans = _plans(store, recipe)

  def weights(static):
    rows = fitting.FitRows(store, recipe, 1, 3, plans, static)
    epochs = [
      rows.sequences(np.arange(n, n + rows.rows_per_epoch))
      for n in (0, rows.rows_per_epoch)
    ]
    # rows are told apart by what they hold
    return [
      sorted(
        (row.tolist(), w.tolist())
        for row, w in zip(batch['targets'], batch['weights'], strict=True)
      )
      for batch in epochs
    ]

  first, second = weights(static=False)
  assert [row for row, _ in first] == [row for row, _ in second]
  assert first != second
  first, second = weights(static=True)
  assert first == second


def test_what_sizes_depend_on_belongs_to_the_piece():
  documents, starts = np.array([4, 4, 9]), np.array([0, 16, 0])
  found = fitting._uniforms((1, 0), documents, starts)
  again = fitting._uniforms((1, 0), documents[[2, 0, 1]], starts[[2, 0, 1]])
  np.testing.assert_array_equal(found[[2, 0, 1]], again)
  assert (
    len({*found.tolist(), *fitting._uniforms((2, 0), documents, starts)}) == 6
  )
  many = fitting._uniforms((0, 0), np.arange(100_000), np.zeros(100_000))
  counts = np.histogram(many, bins=10, range=(0, 1))[0]
  assert abs(counts - 10_000).max() < 400  # four standard errors


def test_plans_are_made_once(store, tmp_path, monkeypatch):
  recipe = CASES['causal']
  plans = fitting.load_plans(store, recipe, 0, 'x', tmp_path)
  monkeypatch.setattr(fitting, 'make_plan', None)
  again = fitting.load_plans(store, recipe, 0, 'x', tmp_path)
  for plan, other in zip(plans, again, strict=True):
    np.testing.assert_array_equal(plan.starts_P, other.starts_P)
    np.testing.assert_array_equal(plan.ends_R, other.ends_R)


def test_too_little_text(store):
  recipe = CASES['causal']
  with pytest.raises(UserError, match='fills only'):
    fitting.FitRows(store, recipe, 500, 0, _plans(store, recipe))


def test_little_is_left_empty(make_store):
  draw = np.random.default_rng(0)
  store = make_store(np.minimum(draw.geometric(1 / 30, 300), 59).tolist())
  recipe = _recipe(length=64)
  plan = fitting.make_plan(
    store.shard(0).lengths, np.arange(300), recipe, (0, 0)
  )
  assert store.num_tokens / (64 * len(plan.ends_R)) > 0.97

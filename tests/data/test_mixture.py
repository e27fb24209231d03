import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import tree
from configs.errors import UserError
from data.mixture import MixtureConfig, Schedule

LENGTH = 2048  # tokens of a row
ENDLESS = 10**6  # rows of an epoch, where that does not matter
OFF = 2.1  # rows that a source may be off its target by
# the same examples each time, and no file of those that failed
PROPERTY = settings(deadline=None, database=None, derandomize=True)


def _schedule(config, rows_per_epoch, seed=0, sizes=None, tokens_per_row=1):
  config.validate()
  sizes = sizes or rows_per_epoch
  return Schedule(config, rows_per_epoch, tokens_per_row, sizes, seed)


def _weighted(weights, seed=0, **keys):
  config = MixtureConfig(weights=tuple(map(float, weights)), **keys)
  return _schedule(config, [ENDLESS] * len(weights), seed)


def _counts(sources, num_sources):
  """Rows of each source in each prefix from 1 on, by counting."""
  return np.cumsum(sources[:, None] == np.arange(num_sources), axis=0)


weights_of = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=25)


@given(weights=weights_of, seed=st.integers(0, 1000))
@settings(PROPERTY, max_examples=150)
def test_any_prefix_has_the_shares_asked_for(weights, seed):
  sources, _ = _weighted(weights, seed).locate(np.arange(2000))
  shares = np.array(weights) / sum(weights)
  target = shares * np.arange(1, 2001)[:, None]
  assert np.abs(_counts(sources, len(weights)) - target).max() <= OFF


@pytest.mark.parametrize(
  'weights',
  [
    [1, 1],
    [0.7, 0.2, 0.1],
    [0.9, *([0.1 / 20] * 20)],
    [1 / n for n in range(1, 23)],
    [0.618**n for n in range(20)],  # of all trees, the deepest
  ],
)
def test_shares_of_a_million_tokens(weights):
  """Within 0.5 points in 488 rows of 2,048 tokens, wherever they begin."""
  rows = 1_000_000 // LENGTH
  shares = np.array(weights) / sum(weights)
  for seed in range(5):
    schedule = _weighted(weights, seed)
    assert np.abs(schedule.counts(rows) / rows - shares).max() < 0.005


@given(share=st.floats(0.001, 0.999), seed=st.integers(0, 100))
@settings(PROPERTY)
def test_two_sources_are_within_one_row(share, seed):
  sources, _ = _weighted([share, 1 - share], seed).locate(np.arange(3000))
  first = np.cumsum(sources == 0)
  assert np.abs(first - share * np.arange(1, 3001)).max() <= 0.626


def _stages(draw, num_sources):
  starts = draw(st.sets(st.integers(1, 400), max_size=4))
  weight = st.one_of(st.just(0.0), st.floats(0.01, 100))
  weights = st.lists(weight, min_size=num_sources, max_size=num_sources)
  return tuple(
    (float(start), *draw(weights.filter(any))) for start in [0, *sorted(starts)]
  )


@st.composite
def _schedules(draw):
  """Any stages and caps, and the rows that can be read."""
  num_sources = draw(st.integers(1, 6))
  cap = st.sampled_from([0.0, 0.5, 1.0, 2.7])
  size = st.integers(2, 60)
  caps, sizes = (
    draw(st.lists(s, min_size=num_sources, max_size=num_sources))
    for s in (cap, size)
  )
  config = MixtureConfig(
    max_epochs=tuple(caps), stages=_stages(draw, num_sources)
  )
  schedule = _schedule(config, sizes, draw(st.integers(0, 99)))
  limits = [
    int(c * s) if c else 10**9 for c, s in zip(caps, sizes, strict=True)
  ]
  return schedule, min(schedule.capacity() or 600, 600), limits


@given(_schedules())
@settings(PROPERTY, max_examples=150)
def test_each_row_of_a_source_once_and_in_order(drawn):
  schedule, num_rows, limits = drawn
  sources, places = schedule.locate(np.arange(num_rows))
  assert sources.dtype == places.dtype == np.int64
  for source, limit in enumerate(limits):
    of_source = places[sources == source]
    np.testing.assert_array_equal(of_source, range(len(of_source)))
    assert len(of_source) <= limit
  counts = _counts(sources, len(limits))
  for length in {1, 7, num_rows // 2, num_rows} & set(range(1, num_rows + 1)):
    np.testing.assert_array_equal(schedule.counts(length), counts[length - 1])
  assert not schedule.counts(0).any()


@given(_schedules(), st.integers(0, 2**32))
@settings(PROPERTY, max_examples=50)
def test_any_row_alone_is_as_among_others(drawn, seed):
  schedule, num_rows, _ = drawn
  together = schedule.locate(np.arange(num_rows))
  rows = np.random.default_rng(seed).integers(0, num_rows, 20)
  for one, all_rows in zip(schedule.locate(rows), together, strict=True):
    np.testing.assert_array_equal(one, all_rows[rows])
  for row in rows[:3]:
    source, place = schedule.locate(np.array([row]))
    assert (source[0], place[0]) == (together[0][row], together[1][row])


def test_far_rows():
  """Row 10^15 is as near as row 0, and as exact."""
  weights = [5, 3, 1, 1]
  schedule = _weighted(weights)
  for start in (10**9, 10**15):
    sources, places = schedule.locate(np.arange(start, start + 1000))
    before, after = schedule.counts(start), schedule.counts(start + 1000)
    assert before.sum() == start
    counts = _counts(sources, 4)
    np.testing.assert_array_equal(counts[-1], after - before)
    for source in range(4):
      expected = np.arange(before[source], after[source])
      np.testing.assert_array_equal(places[sources == source], expected)
    # a share is kept in 31 bits at each node
    np.testing.assert_allclose(before / start, np.array(weights) / 10, 1e-8)


def test_single_source_is_identity():
  rows = np.array([0, 5, 10**12, 3])
  sources, places = _weighted([3.0]).locate(rows)
  assert not sources.any()
  np.testing.assert_array_equal(places, rows)
  sources, places = _weighted([3.0]).locate(rows[:0])
  assert len(sources) == len(places) == 0


def test_no_source_waits():
  """Halves alternate, quarters come once in four: no runs, no gaps."""
  sources, _ = _weighted([1, 1]).locate(np.arange(100))
  assert (np.diff(sources) != 0).all()
  sources, _ = _weighted([1, 1, 1, 1]).locate(np.arange(400))
  for quarter in sources.reshape(-1, 4):
    assert sorted(quarter) == [0, 1, 2, 3]


def test_seeds():
  first, again, other = (
    _weighted([5, 3, 2, 7, 1], seed).locate(np.arange(300))[0]
    for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()


def test_order_never_changes():
  # Golden: if it moved, runs of before would resume on other data. It may
  # change only together with a note that they cannot be resumed.
  sources, places = _weighted([5, 3, 2], seed=7).locate(np.arange(12))
  assert sources.tolist() == [1, 0, 2, 0, 1, 0, 2, 0, 1, 0, 1, 0]
  assert places.tolist() == [0, 0, 0, 1, 1, 2, 1, 3, 2, 4, 3, 5]


@pytest.mark.parametrize(
  ('weights', 'temperature', 'shares'),
  [
    ([90, 10], 1.0, [0.9, 0.1]),
    ([90, 10], 2.0, [0.75, 0.25]),  # square roots are 3 to 1
    ([64, 8, 1], 3.0, [4 / 7, 2 / 7, 1 / 7]),  # cube roots are 4, 2, 1
    ([2, 1], 0.5, [0.8, 0.2]),  # squares are 4 to 1
    ([1000, 1], 1e9, [0.5, 0.5]),
  ],
)
def test_temperature(weights, temperature, shares):
  rows = 10_000
  by_weight = _weighted(weights, temperature=temperature)
  by_size = _schedule(
    MixtureConfig(temperature=temperature),
    [ENDLESS] * len(weights),
    sizes=[w * 10**12 for w in weights],
  )
  by_stage = _schedule(
    MixtureConfig(temperature=temperature, stages=((0.0, *weights),)),
    [ENDLESS] * len(weights),
  )
  for schedule in (by_weight, by_size, by_stage):
    np.testing.assert_allclose(
      schedule.counts(rows), np.array(shares) * rows, atol=OFF
    )


def test_caps():
  """A leaves after 100 rows, B and C share its half as 3 to 2; then B."""
  config = MixtureConfig(weights=(5.0, 3.0, 2.0), max_epochs=(2.0, 4.0, 0.0))
  schedule = _schedule(config, [50, 50, 50])
  assert schedule.capacity() is None
  sources, _ = schedule.locate(np.arange(1000))
  last = [int(np.flatnonzero(sources == s)[-1]) + 1 for s in (0, 1)]
  # 100 rows are half of 200, in which B has 60 and C 40; B's other 140 are
  # 3/5 of 233.3 more
  assert abs(last[0] - 200) <= 2 * OFF
  assert abs(last[1] - 433.3) <= 2 * OFF
  assert schedule.counts(1000).tolist() == [100, 200, 700]
  middle = schedule.counts(400) - schedule.counts(last[0])
  length = 400 - last[0]
  np.testing.assert_allclose(middle, [0, 0.6 * length, 0.4 * length], atol=OFF)
  assert (sources[last[1] :] == 2).all()


@pytest.mark.parametrize(
  ('epochs', 'rows', 'cap'), [(0.29, 100, 29), (1.1, 30, 33), (0.999, 7, 6)]
)
def test_caps_are_of_the_decimal_number(epochs, rows, cap):
  config = MixtureConfig(weights=(1.0, 1.0), max_epochs=(epochs, 0.0))
  assert _schedule(config, [rows, rows]).counts(1000)[0] == cap


def test_capacity():
  config = MixtureConfig(weights=(1.0, 3.0), max_epochs=(1.0, 1.5))
  schedule = _schedule(config, [10, 20], tokens_per_row=8)
  assert schedule.capacity() == 40
  assert schedule.counts(40).tolist() == [10, 30]
  schedule.locate(np.array([39]))
  for call in (
    lambda: schedule.locate(np.array([3, 40])),
    lambda: schedule.counts(41),
  ):
    with pytest.raises(UserError, match=r'max_epochs.* 40 rows.* 320 tokens'):
      call()
  with pytest.raises(IndexError):
    schedule.locate(np.array([-1]))


def test_a_source_without_weight_is_not_waited_for():
  stages = ((0.0, 1.0, 1.0), (10.0, 1.0, 0.0))
  config = MixtureConfig(max_epochs=(1.0, 0.0), stages=stages)
  schedule = _schedule(config, [8, 8])
  assert schedule.capacity() == 13  # 5 of each, then 3 of the first


def test_nothing_to_read():
  config = MixtureConfig(max_epochs=(0.1, 0.1))
  with pytest.raises(UserError, match=r'max_epochs: every source'):
    _schedule(config, [9, 9])


def test_stages():
  # 8 tokens a row: the second begins in the middle of row 12, so with row 13
  stages = ((0.0, 1.0, 0.0), (100.0, 1.0, 1.0), (800.0, 0.0, 1.0))
  config = MixtureConfig(stages=stages)
  schedule = _schedule(config, [ENDLESS] * 2, tokens_per_row=8)
  sources, places = schedule.locate(np.arange(200))
  assert not sources[:13].any()
  assert abs(sources[13:100].mean() - 0.5) < 1 / 87
  assert (sources[100:] == 1).all()
  assert places[100] == sources[13:100].sum()


def test_stages_make_up_for_one_another():
  """The whole is as near its target after many stages as after one."""
  rng = np.random.default_rng(0)
  starts = np.arange(0, 2000, 17)
  weights = rng.dirichlet(np.ones(8), len(starts))
  stages = tuple((float(s), *w) for s, w in zip(starts, weights, strict=True))
  target = np.cumsum(np.repeat(weights, 17, axis=0), axis=0)
  schedule = _schedule(MixtureConfig(stages=stages), [ENDLESS] * 8)
  sources, _ = schedule.locate(np.arange(len(target)))
  assert np.abs(_counts(sources, 8) - target).max() <= OFF


def test_two_stages_in_one_row():
  stages = ((0.0, 1.0, 0.0), (1.0, 1.0, 1.0), (2.0, 0.0, 1.0))
  schedule = _schedule(
    MixtureConfig(stages=stages), [ENDLESS] * 2, tokens_per_row=8
  )
  assert schedule.counts(50).tolist() == [1, 49]


@pytest.mark.parametrize(
  ('keys', 'message'),
  [
    ({'weights': (1.0, 0.0)}, 'data.mixture.weights: 0.0 is no weight'),
    ({'weights': (1.0, float('nan'))}, 'data.mixture.weights: nan'),
    ({'weights': (float('inf'),)}, 'data.mixture.weights: inf'),
    ({'temperature': 0.0}, 'data.mixture.temperature = 0.0'),
    ({'temperature': float('inf')}, 'data.mixture.temperature = inf'),
    ({'max_epochs': (-1.0,)}, 'data.mixture.max_epochs: -1.0'),
    ({'stages': ((0.0,),)}, r'data.mixture.stages: \(0.0,\) is no stage'),
    ({'stages': ((0.0, -1.0),)}, 'data.mixture.stages: .* is no stage'),
    ({'stages': ((0.0, 0.0, 0.0),)}, 'data.mixture.stages: all weights from 0'),
    ({'stages': ((5.0, 1.0),)}, 'start with 0, and ascend'),
    ({'stages': ((0.0, 1.0), (9.0, 1.0), (9.0, 2.0))}, 'and ascend'),
    (
      {'stages': ((0.0, 1.0),), 'weights': (1.0,)},
      'data.mixture.stages takes the place of data.mixture.weights',
    ),
    (
      {'weights': (1.0, 2.0), 'max_epochs': (1.0,)},
      'data.mixture.weights, data.mixture.max_epochs are for 2, 1 sources',
    ),
    (
      {'stages': ((0.0, 1.0), (1.0, 1.0, 1.0))},
      r'data.mixture.stages\[0\], data.mixture.stages\[1\] are for 1, 2',
    ),
  ],
)
def test_bad_configs(keys, message):
  with pytest.raises(UserError, match=message) as caught:
    MixtureConfig(**keys).validate()
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('keys', 'message'),
  [
    ({'weights': (1.0, 1.0)}, 'data.mixture.weights is for 2 sources'),
    ({'max_epochs': (1.0,)}, 'data.mixture.max_epochs is for 1 sources'),
    ({'stages': ((0.0, 1.0),)}, r'data.mixture.stages\[0\] is for 1 sources'),
  ],
)
def test_another_number_of_sources(keys, message):
  with pytest.raises(UserError, match=f'{message} and data.source has 3'):
    _schedule(MixtureConfig(**keys), [5, 5, 5])


def test_a_source_without_a_row():
  with pytest.raises(UserError, match=r'source 1 of data\.source'):
    _schedule(MixtureConfig(), [5, 0])


def test_from_a_config_tree():
  section = {
    'weights': [],
    'temperature': 2,
    'max_epochs': [1, 0],
    'stages': [[0, 1, 2], [1e6, 2, 1]],
  }
  config = tree.to_dataclass(MixtureConfig, section, 'data.mixture.')
  assert config.stages == ((0.0, 1.0, 2.0), (1e6, 2.0, 1.0))
  assert config.temperature == 2.0

"""What holds for every objective, and how they are chosen."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from data import objectives
from data.objectives.base import ObjectiveConfig, Vocabulary

START = 77
STEADY = settings(
  derandomize=True, deadline=None, database=None, max_examples=60
)

# of the config and the architecture
CHOICES = [
  ({'kind': 'causal'}, 'decoder'),
  ({'kind': 'masked'}, 'encoder'),
  ({'kind': 'masked', 'whole_words': True}, 'encoder'),
  ({'kind': 'masked', 'noise_density': 0.9}, 'encoder'),
  ({'kind': 'middle'}, 'decoder'),
  ({'kind': 'middle', 'middle_rate': 0.0}, 'decoder'),
  *(
    (changes, architecture)
    for architecture in ('encoder_decoder', 'decoder')
    for changes in (
      {'kind': 'spans'},
      {'kind': 'spans', 'noise_density': 0.9, 'mean_span': 1.0},
      {'kind': 'spans', 'noise_density': 0.5, 'mean_span': 64.0},
      {'kind': 'prefix'},
      {'kind': 'ul2'},
    )
  ),
]
every = pytest.mark.parametrize(('changes', 'architecture'), CHOICES, ids=str)


@pytest.fixture(scope='module')
def make(vocabulary):
  def make(changes, architecture, vocabulary=vocabulary):
    config = ObjectiveConfig(**changes)
    config.validate()
    return objectives.make(config, architecture, vocabulary, START)

  return make


@every
@STEADY
@given(
  length=st.integers(1, 150),
  u=st.floats(0, 1, exclude_max=True),
  seed=st.integers(0, 2**32),
  begins=st.booleans(),
  ends=st.booleans(),
)
def test_contract(
  make, make_piece, changes, architecture, length, u, seed, begins, ends
):
  objective = make(changes, architecture)
  piece = make_piece(length, seed, begins, ends)
  example, again = (
    objective.example(piece, u, np.random.default_rng(seed)) for _ in range(2)
  )
  for key, value in vars(example).items():
    np.testing.assert_array_equal(value, getattr(again, key))
  original = objective.original(example)
  np.testing.assert_array_equal(original, piece[:-1])
  assert original.dtype == np.int32
  _check_arrays(example, architecture)
  source_size = 0 if example.source is None else len(example.source)
  sizes = source_size, len(example.tokens)
  assert sizes == objective.sizes(length, u)
  if objective.keeps_length:
    assert sizes == (0, length)
  extremes = objective.extremes(length)
  assert source_size <= max(source for source, _ in extremes)
  assert len(example.tokens) <= max(target for _, target in extremes)
  assert objectives.has_prefix(objective) == (example.prefix is not None)


def _check_arrays(example, architecture):
  assert example.tokens.dtype == example.targets.dtype == np.int32
  assert example.weights.dtype == np.float32
  assert example.tokens.shape == example.targets.shape == example.weights.shape
  assert set(example.weights.tolist()) <= {0, 1}
  assert (example.source is not None) == (architecture == 'encoder_decoder')
  if architecture == 'encoder_decoder':
    assert example.source.dtype == np.int32
    assert example.tokens[0] == START
    np.testing.assert_array_equal(example.tokens[1:], example.targets[:-1])
    assert example.weights.all()
  if architecture == 'decoder':
    np.testing.assert_array_equal(example.tokens[1:], example.targets[:-1])
  if example.prefix is not None:
    assert example.prefix.dtype == np.bool_
    assert example.prefix.shape == example.tokens.shape
    # all of the prefix is at the beginning, and what follows it is learnt
    size = int(example.prefix.sum())
    assert example.prefix[:size].all()
    np.testing.assert_array_equal(
      example.weights, np.arange(len(example.tokens)) >= size - 1
    )


@every
def test_other_random_numbers_give_other_noise(
  make, make_piece, changes, architecture
):
  objective = make(changes, architecture)
  piece = make_piece(400)  # long enough for two spans of 64
  found = {
    objective.example(piece, 0.1, np.random.default_rng(seed)).tokens.tobytes()
    for seed in range(20)
  }
  is_random = changes['kind'] not in ('causal', 'prefix')
  is_random = is_random and changes.get('middle_rate') != 0
  assert (len(found) > 10) == is_random


@every
def test_separator_is_read_first_and_never_noise(
  make, make_piece, vocabulary, changes, architecture
):
  objective = make(changes, architecture)
  modes = {vocabulary.ids[mode] for mode in ('[R]', '[X]', '[S]')}
  for seed in range(50):
    u = seed / 50
    rng = np.random.default_rng(seed)
    example = objective.example(make_piece(40, seed), u, rng)
    read = example.tokens if example.source is None else example.source
    read = read[1:] if read[0] in modes else read
    assert read[0] == vocabulary.separator_id
    # elsewhere it is only a target, and the last
    assert vocabulary.separator_id not in read[1:]
    assert vocabulary.separator_id not in example.targets[1:-1]


@every
def test_sizes_grow_with_the_piece(make, changes, architecture):
  objective = make(changes, architecture)
  sizes = [
    np.max(objective.extremes(length), axis=0) for length in range(1, 600)
  ]
  assert (np.diff(sizes, axis=0) >= 0).all()
  totals = np.sum(sizes, axis=1)
  assert (totals >= np.arange(1, 600)).all()


@every
@pytest.mark.parametrize('budgets', [(0, 0), (1, 1), (2, 40), (64, 20), (9, 9)])
def test_longest_piece_is_what_trying_all_gives(
  make, changes, architecture, budgets
):
  objective = make(changes, architecture)
  us = np.linspace(0, 1, 7 * 120, endpoint=False)
  fitting = 0
  for length in range(1, 120):
    sizes = np.array([objective.sizes(length, u) for u in us])
    if (sizes > budgets).any():
      break
    fitting = length
  assert objectives.longest_piece(objective, *budgets) == fitting


def test_lengths_of_t5(make):
  # t5.data.preprocessors.random_spans_helper and Hugging Face's
  # compute_input_and_target_lengths give 568 and 114 for inputs of 512 tokens,
  # 1137 and 229 for 1024. Their inputs have one token more than our source.
  spans = make({'kind': 'spans'}, 'encoder_decoder')
  for inputs, tokens, targets in ((512, 568, 114), (1024, 1137, 229)):
    assert spans.sizes(tokens, 0) == (inputs - 1, targets)
    assert objectives.longest_piece(spans, inputs - 1, targets) == tokens
    assert objectives.target_length(spans, inputs - 1) == targets
    assert objectives.longest_piece(spans, inputs - 1, targets - 1) < tokens
  decoder = make({'kind': 'spans'}, 'decoder')
  assert decoder.sizes(568, 0) == (0, 511 + 114 - 1)


def test_target_length_by_hand(make):
  prefix = make({'kind': 'prefix'}, 'encoder_decoder')
  # of 11 tokens, 10 can be the source, or one, and then ten and the next follow
  assert objectives.target_length(prefix, 10) == 11
  assert objectives.longest_piece(prefix, 10, 11) == 11


def test_sentinels_limit_the_piece(vocabulary, make):
  few = {f'<extra_id_{index}>': 900 + index for index in range(28)}
  few['<extra_id_29>'] = 929  # of no use without the one before
  fewer = Vocabulary(
    vocabulary.size,
    vocabulary.separator_id,
    vocabulary.ordinary,
    vocabulary.starts_word_V,
    few,
  )
  spans = make({'kind': 'spans'}, 'encoder_decoder', fewer)
  # 85 tokens of noise are 28 spans (28.33), 86 are 29 (28.67)
  assert spans.max_length == 569  # 85.35
  assert objectives.longest_piece(spans, 4096, 4096) == 569
  assert make({'kind': 'spans'}, 'decoder').max_length > 1000


@pytest.mark.parametrize('kind', ['spans', 'ul2'])
@pytest.mark.parametrize('length', [2, 9, 128, 300])
def test_special_tokens_are_enough_and_not_too_many(
  vocabulary, make, make_piece, kind, length
):
  names = objectives.special_tokens(ObjectiveConfig(kind=kind), length)
  assert len(set(names)) == len(names)
  exact = _with_ids(vocabulary, {name: 999 - i for i, name in enumerate(names)})
  objective = make({'kind': kind}, 'decoder', exact)
  assert objective.max_length >= length
  for u in (0.0, 0.3, 0.99):
    objective.example(make_piece(length), u, np.random.default_rng(0))
  if len(names) > len(objectives.special_tokens(ObjectiveConfig(kind=kind), 2)):
    exact = _with_ids(exact, {name: exact.ids[name] for name in names[:-1]})
    assert make({'kind': kind}, 'decoder', exact).max_length < length


def _with_ids(vocabulary, ids):
  return Vocabulary(
    vocabulary.size,
    vocabulary.separator_id,
    vocabulary.ordinary,
    vocabulary.starts_word_V,
    ids,
  )


def test_special_tokens_by_hand():
  def of(kind, length):
    return objectives.special_tokens(ObjectiveConfig(kind=kind), length)

  assert of('causal', 100) == of('prefix', 100) == ()
  assert of('masked', 100) == ('[MASK]',)
  assert of('middle', 9) == (
    '<|fim_prefix|>',
    '<|fim_suffix|>',
    '<|fim_middle|>',
  )
  # 20 tokens: 3 are noise, in one span
  assert of('spans', 20) == ('<extra_id_0>',)
  assert of('spans', 568)[-1] == '<extra_id_27>'
  # 20 tokens: half are noise, of which 3 are a span
  ids = ('<extra_id_0>', '<extra_id_1>', '<extra_id_2>')
  assert of('ul2', 20) == ('[R]', '[X]', '[S]', *ids)


def test_which_goes_with_which(vocabulary):
  allowed = {
    (changes['kind'], architecture) for changes, architecture in CHOICES
  }
  pairs = itertools.product(
    ('causal', 'prefix', 'masked', 'spans', 'ul2', 'middle'),
    ('decoder', 'encoder', 'encoder_decoder'),
  )
  for kind, architecture in pairs:
    config = ObjectiveConfig(kind=kind)
    if (kind, architecture) in allowed:
      objectives.make(config, architecture, vocabulary, START)
      continue
    with pytest.raises(UserError) as error:
      objectives.make(config, architecture, vocabulary, START)
    message = str(error.value)
    assert f"data.objective.kind = '{kind}'" in message
    assert 'model.architecture' in message
    assert message.endswith(f'not {architecture}')


@pytest.mark.parametrize(
  ('kind', 'architecture', 'missing'),
  [
    ('masked', 'encoder', '[MASK]'),
    ('middle', 'decoder', '<|fim_suffix|>'),
    ('spans', 'encoder_decoder', '<extra_id_0>'),
    ('ul2', 'decoder', '<extra_id_0>'),
    ('ul2', 'encoder_decoder', '[S]'),
  ],
)
def test_a_missing_special_token(vocabulary, kind, architecture, missing):
  ids = {name: i for name, i in vocabulary.ids.items() if name != missing}
  with pytest.raises(UserError) as error:
    objectives.make(
      ObjectiveConfig(kind=kind), architecture, _with_ids(vocabulary, ids), 0
    )
  message = str(error.value)
  assert f'needs the special token {missing}, ' in message
  assert '\n' not in message


@every
def test_goes_to_another_process(make, make_piece, changes, architecture):
  objective = make(changes, architecture)
  assert objective.max_length > 0  # what is remembered goes along
  other = pickle.loads(pickle.dumps(objective))
  piece = make_piece(30)
  one, two = (
    each.example(piece, 0.4, np.random.default_rng(5))
    for each in (objective, other)
  )
  np.testing.assert_array_equal(one.tokens, two.tokens)
  np.testing.assert_array_equal(other.original(two), piece[:-1])

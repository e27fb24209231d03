"""Overrides, sweeps and typed views of configs."""

import dataclasses

import pytest
from ml_collections import ConfigDict

from configs import pretrain
from configs.errors import UserError
from configs.sizes import SIZES
from configs.tree import (
  differences,
  digest,
  flatten,
  product,
  to_dataclass,
  with_overrides,
)
from train.config import RunConfig


def test_overrides_leave_the_original_alone():
  base = pretrain.get_config()
  edited = with_overrides(base, {'optimizer.learning_rate': 0.5})
  assert edited.optimizer.learning_rate == 0.5
  assert base.optimizer.learning_rate != 0.5
  assert edited.is_locked


def test_an_int_is_taken_where_a_float_is_meant():
  edited = with_overrides(pretrain.get_config(), {'optimizer.clip_norm': 2})
  assert edited.optimizer.clip_norm == 2.0


@pytest.mark.parametrize(
  ('key', 'value', 'told'),
  [
    ('optimizer.learning_rte', 1.0, 'did you mean optimizer.learning_rate'),
    ('optimiser.learning_rate', 1.0, 'optimiser.learning_rate is no key'),
    ('train.num_steps.more', 1, 'train.num_steps.more is no key'),
    ('train.num_steps', 'many', "train.num_steps = 'many': expected int"),
    ('train.num_steps', 1.5, 'train.num_steps = 1.5: expected int'),
    ('model.norm', 3, 'model.norm = 3: expected str'),
  ],
)
def test_bad_overrides_name_key_and_value(key, value, told):
  with pytest.raises(UserError, match=told):
    with_overrides(pretrain.get_config(), {key: value})


def test_product_counts_like_an_odometer():
  assert product({'a': [1, 2], 'b': 'xy'}) == [
    {'a': 1, 'b': 'x'},
    {'a': 1, 'b': 'y'},
    {'a': 2, 'b': 'x'},
    {'a': 2, 'b': 'y'},
  ]


def test_digest_sees_every_value_and_no_order():
  assert digest({'a': 1, 'b': 2}) == digest({'b': 2, 'a': 1})
  assert digest({'a': 1}) != digest({'a': 2})


def _leaves(cls, path=''):
  for field in dataclasses.fields(cls):
    if dataclasses.is_dataclass(field.type):
      yield from _leaves(field.type, f'{path}{field.name}.')
    else:
      yield path + field.name


@pytest.mark.parametrize('size', SIZES)
def test_config_keys_are_the_dataclass_fields(size):
  config = pretrain.get_config(size)
  assert set(flatten(config)) == set(_leaves(RunConfig))
  to_dataclass(RunConfig, config)  # and every size is valid


def test_an_unknown_size_names_those_there_are():
  with pytest.raises(UserError, match='nest-12k'):
    pretrain.get_config('nest-3')


@dataclasses.dataclass(frozen=True)
class _Inner:
  number: float


@dataclasses.dataclass(frozen=True)
class _Outer:
  inner: _Inner
  names: tuple[str, ...]


@pytest.mark.parametrize(
  ('tree', 'told'),
  [
    ({'inner': {'number': 1.0}}, 'names is missing'),
    ({'inner': {'number': 'x'}, 'names': ()}, "inner.number = 'x'"),
    ({'inner': {'number': True}, 'names': ()}, 'inner.number = True'),
    ({'inner': 3, 'names': ()}, 'inner = 3: expected a section'),
    ({'inner': {'number': 1.0, 'more': 2}, 'names': ()}, 'inner.more is no'),
    ({'inner': {'number': 1.0}, 'names': (1,)}, r'names\[0\] = 1'),
    ({'inner': {'number': 1.0}, 'names': 'ab'}, 'expected a list'),
  ],
)
def test_bad_trees_name_the_key(tree, told):
  with pytest.raises(UserError, match=told):
    to_dataclass(_Outer, ConfigDict(tree))


def test_trees_become_frozen_dataclasses():
  tree = {'inner': {'number': 1}, 'names': ['a', 'b']}
  assert to_dataclass(_Outer, tree) == _Outer(_Inner(1.0), ('a', 'b'))


@dataclasses.dataclass(frozen=True)
class _Later(_Inner):
  more: int = 3


def test_what_has_a_default_may_be_missing_from_a_tree_that_is_older():
  assert to_dataclass(_Later, {'number': 1}) == _Later(1.0, 3)
  assert to_dataclass(_Later, {'number': 1, 'more': 4}) == _Later(1.0, 4)
  with pytest.raises(UserError, match='number is missing'):
    to_dataclass(_Later, {'more': 4})


@pytest.mark.parametrize(
  ('overrides', 'told'),
  [
    ({'model.num_kv_heads': 3}, 'must divide model.num_heads'),
    ({'model.activation': 'tanh'}, 'choose from swiglu, geglu'),
    ({'model.head_width': 7}, 'must be an even number'),
    ({'model.rope_fraction': 0.1}, 'must be an even number'),
    ({'model.rope_fraction': 1.5}, 'above 0, at most 1'),
    ({'model.rope_high_frequency': 1.0}, 'above model.rope_low_frequency'),
    (
      {'model.positions': 'relative', 'model.relative_buckets': 6},
      'a multiple of 4',
    ),
    (
      {'model.positions': 'relative', 'model.relative_max_distance': 9},
      'above half of model.relative_buckets',
    ),
    ({'model.positions': 'sinusoidal', 'model.width': 65}, 'sines and cosines'),
    ({'model.pooler': True}, 'only of architecture encoder'),
    ({'model.num_classes': 3}, 'only of architecture encoder'),
    ({'model.num_classes': -1}, 'at least 0'),
    (
      {
        'model.architecture': 'encoder',
        'model.tied_head': True,
        'model.num_classes': 3,
      },
      r'num_classes = 3: .* set model\.pooler = True',
    ),
    ({'model.architecture': 'encoder'}, 'is its embedding'),
    ({'model.scale_tied_head': True}, 'only of a tied head'),
    (
      {'model.norm_position': 'post', 'model.parallel_residual': True},
      "only with model.norm_position = 'pre'",
    ),
    ({'model.num_experts': 1}, 'at most model.num_experts = 1'),
    ({'model.num_experts': 4, 'model.biases': True}, 'experts have none'),
    ({'model.dropout': 1.0}, 'from 0 to below 1'),
    ({'data.vocab_size': 4096}, 'make them equal'),
    ({'data.source': 'wikipaedia'}, 'is not KIND:NAME'),
    ({'data.batch_size': 0}, 'at least 1'),
    ({'train.accumulate_steps': 3}, 'must divide data.batch_size'),
    ({'train.num_steps': 10}, 'more than train.num_steps = 10'),
    ({'schedule.kind': 'steps'}, 'choose from wsd, cosine'),
    ({'mesh.fsdp': -1}, 'only one axis can be -1'),
    ({'mesh.fsdp': 0}, 'at least 1, or -1'),
    ({'optimizer.learning_rate': float('nan')}, 'above 0'),
    ({'data.sequence_length': 256, 'model.positions': 'learned'}, 'beyond'),
  ],
)
def test_impossible_configs_are_refused_in_one_line(overrides, told):
  config = with_overrides(pretrain.get_config(), overrides)
  with pytest.raises(UserError, match=told) as caught:
    to_dataclass(RunConfig, config)
  assert '\n' not in str(caught.value)


def test_differences_are_told_by_dotted_key_in_order():
  old = {'b': {'x': 1, 'same': [2]}, 'a': 3}
  new = {'b': {'x': 2, 'same': [2]}, 'c': {'y': 4}}
  assert list(differences(old, new)) == [
    ('a', 3, None),
    ('b.x', 1, 2),
    ('c.y', None, 4),
  ]
  assert not list(differences(new, new))

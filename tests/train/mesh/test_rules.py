"""Tables of rules, and what a user may say of single parameters."""

import itertools

import pytest
from jax.sharding import PartitionSpec

from configs.errors import UserError
from train.mesh import rules
from train.mesh.config import MeshConfig
from train.mesh.placement import DEFAULT, parse
from train.mesh.rules import BATCH, MESH_AXES, STRATEGIES
from train.mesh.sharding import as_tuple, spec_of

# Logical axes of the arrays that the model makes, by where they are.
PARAMETERS = [
  ('vocab', 'embed'),
  ('length', 'embed'),
  ('layers', 'embed', 'heads', 'head_width'),
  ('layers', 'heads', 'head_width', 'embed'),
  ('layers', 'embed', 'ffn'),
  ('layers', 'experts', 'embed', 'ffn'),
  ('layers', 'norm'),
]
ACTIVATIONS = [
  ('batch', 'stream_length', 'stream'),
  ('batch', 'length', 'heads', None),
  ('batch', 'keys', 'kv_heads', None),
  ('batch', 'length', 'ffn'),
  ('batch', 'length', 'vocab'),
  ('rows', 'experts', 'slots', None),
  ('layers', 'batch', 'length', 'kv_heads', None),
]


@pytest.mark.parametrize('name', STRATEGIES)
def test_no_array_lies_twice_along_an_axis(name):
  strategy = STRATEGIES[name]
  for axes in PARAMETERS:
    spec_of(axes, strategy.parameters)
    spec_of(axes, strategy.optimizer)
  for axes in ACTIVATIONS:
    spec_of(axes, strategy.activations)


@pytest.mark.parametrize('name', STRATEGIES)
def test_tables_name_mesh_axes_and_batches_lie_alike(name):
  strategy = STRATEGIES[name]
  for table in strategy:
    named = itertools.chain(*map(as_tuple, table.values()))
    assert set(named) <= set(MESH_AXES)
  assert BATCH.items() <= strategy.activations.items()
  # What the model may not know of: an array would be whole without a word.
  assert {axis for axes in PARAMETERS for axis in axes} <= {
    *strategy.parameters
  } & {*strategy.optimizer}


def test_each_strategy_is_what_its_paper_has():
  """ZeRO stage 3, stage 1, and Megatron's sequence parallelism."""

  def specs(name):
    strategy = STRATEGIES[name]
    kernel, stream = ('embed', 'ffn'), ('batch', 'stream_length', 'stream')
    return (
      tuple(spec_of(kernel, strategy.parameters)),
      tuple(spec_of(kernel, strategy.optimizer)),
      spec_of(stream, strategy.activations)[1],
    )

  whole, divided = (None, 'tensor'), ('fsdp', 'tensor')
  assert specs('fsdp') == (divided, divided, 'sequence')
  assert specs('zero1') == (whole, divided, 'sequence')
  assert specs('megatron_sp') == (divided, divided, ('sequence', 'tensor'))


def test_two_dimensions_cannot_share_a_mesh_axis():
  with pytest.raises(ValueError, match='two dimensions along one mesh axis'):
    spec_of(('heads', 'ffn'), rules.STRATEGIES['fsdp'].parameters)


def test_an_axis_without_a_rule_is_named():
  with pytest.raises(ValueError, match="'mine'"):
    spec_of(('mine',), BATCH)


def test_none_is_not_divided():
  assert spec_of((None, 'length'), BATCH) == PartitionSpec(None, 'sequence')


def test_a_config_without_rules_has_those_of_fsdp():
  assert MeshConfig(8, 1, 1).placement == DEFAULT
  assert DEFAULT.rules is STRATEGIES['fsdp']


@pytest.mark.parametrize(
  ('text', 'path', 'axes'),
  [
    ('table: tensor, fsdp', 'embedding.table', (('tensor',), ('fsdp',))),
    (
      'embedding.table: none, fsdp+data',
      'embedding.table',
      ((), ('fsdp', 'data')),
    ),
    ('.*kernel : none', 'decoder.layers.ffn.up.kernel', ((),)),
    ('ffn.(?:up|gate).kernel:none', 'a.ffn.gate.kernel', ((),)),
    ('a|b: data', 'c.b', (('data',),)),
  ],
)
def test_an_override_is_of_the_end_of_a_path(text, path, axes):
  (override,) = parse('fsdp', (text,)).overrides
  assert override.matches(path)
  assert override.axes == axes


@pytest.mark.parametrize(
  ('pattern', 'path'),
  [
    ('able', 'embedding.table'),
    ('embedding', 'embedding.table'),
    ('a|b', 'c.ab'),
    ('scale', 'grayscale'),
  ],
)
def test_an_override_is_of_whole_names(pattern, path):
  (override,) = parse('fsdp', (f'{pattern}: none',)).overrides
  assert not override.matches(path)


@pytest.mark.parametrize(
  ('text', 'why'),
  [
    ('', "expected 'PATTERN: AXES"),
    ('embedding.table', "expected 'PATTERN: AXES"),
    (': tensor', "expected 'PATTERN: AXES"),
    ('table:', "expected 'PATTERN: AXES"),
    ('(: tensor', 'no regular expression'),
    ('table: model', "no mesh axis 'model'; choose from data, fsdp, sequence"),
    ('table: tensor,', "no mesh axis ''"),
    ('table: none+fsdp', "no mesh axis 'none'"),
    ('table: fsdp, tensor+fsdp', 'fsdp twice'),
  ],
)
def test_a_bad_override_is_told(text, why):
  config = MeshConfig(1, 1, 1, overrides=('head: none', text))
  with pytest.raises(UserError) as error:
    config.validate()
  assert str(error.value).startswith(f'mesh.overrides[1] = {text!r}: ')
  assert why in str(error.value)
  assert '\n' not in str(error.value)


def test_a_strategy_that_is_none_is_told():
  config = MeshConfig(1, 1, 1, strategy='zero3')
  with pytest.raises(UserError, match=r"mesh\.strategy = 'zero3'.*fsdp, zero1"):
    config.validate()

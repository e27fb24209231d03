"""Rules, meshes and the rows of each process."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec

from configs.errors import UserError
from configs.tree import to_dataclass, with_overrides
from data.batch import BatchShape
from train import program, sharding
from train.config import RunConfig, StepConfig
from train.mesh_config import MeshConfig


def test_each_logical_axis_has_its_mesh_axis():
  assert sharding.spec_of(('vocab', 'embed')) == PartitionSpec('tensor', 'fsdp')
  assert sharding.spec_of(('batch', 'length')) == PartitionSpec(
    ('data', 'fsdp', 'expert'), None
  )
  assert sharding.spec_of((None, 'ffn')) == PartitionSpec(None, 'tensor')


def test_two_dimensions_cannot_share_a_mesh_axis():
  with pytest.raises(ValueError, match='two dimensions along one mesh axis'):
    sharding.spec_of(('batch', 'embed'))


def test_an_axis_without_a_rule_is_named():
  with pytest.raises(ValueError, match="'mine'"):
    sharding.spec_of(('mine',))


@pytest.mark.parametrize(
  ('sizes', 'devices', 'shape'),
  [
    ((-1, 1, 1), 8, (8, 1, 1, 1)),
    ((2, -1, 2), 8, (2, 2, 2, 1)),
    ((1, 1, 2, 2), 4, (1, 1, 2, 2)),
  ],
)
def test_minus_one_fills_the_mesh(sizes, devices, shape):
  assert MeshConfig(*sizes).shape(devices) == shape


@pytest.mark.parametrize('sizes', [(3, 1, 1), (-1, 3, 1), (8, 2, 1)])
def test_a_mesh_that_misses_devices_is_refused(sizes):
  with pytest.raises(UserError, match='8 devices'):
    MeshConfig(*sizes).shape(8)


def test_a_size_that_does_not_divide_is_named():
  mesh = sharding.make_mesh(MeshConfig(1, 1, 8))
  boxed = {
    'query': nn.LogicallyPartitioned(jnp.zeros((16, 6)), ('embed', 'heads'))
  }
  with pytest.raises(UserError, match=r'query.*heads axis of 6.*tensor = 8'):
    sharding.tree_shardings(boxed, mesh)


def test_a_batch_that_does_not_divide_is_refused():
  mesh = sharding.make_mesh(MeshConfig(8, 1, 1))
  with pytest.raises(UserError, match=r'data\.batch_size.*of 12'):
    sharding.local_rows(mesh, 12)


def test_a_micro_batch_that_does_not_divide_is_refused(tiny_config):
  config = to_dataclass(RunConfig, tiny_config)
  mesh = sharding.make_mesh(MeshConfig(8, 1, 1))
  with pytest.raises(UserError, match=r'train\.accumulate_steps.*of 4.* = 8'):
    program.build(
      config.model, config.optimizer, StepConfig(2), BatchShape(8, 16), mesh
    )


def test_one_process_holds_all_rows_in_their_order():
  mesh = sharding.make_mesh(MeshConfig(2, 2, 2))
  assert sharding.local_rows(mesh, 8) == slice(0, 8)
  rows = np.arange(8 * 3).reshape(8, 3)
  placed = sharding.put_batch({'tokens': rows}, mesh, 8)['tokens']
  np.testing.assert_array_equal(placed, rows)
  # Four ways over data and fsdp, the same rows along tensor.
  assert {shard.data.shape for shard in placed.addressable_shards} == {(2, 3)}


def test_fsdp_and_tensor_divide_parameters_and_moments(tiny_config):
  config = to_dataclass(
    RunConfig,
    with_overrides(
      tiny_config, {'mesh.data': 2, 'mesh.fsdp': 2, 'mesh.tensor': 2}
    ),
  )
  mesh = sharding.make_mesh(config.mesh)
  built = program.build(
    config.model, config.optimizer, StepConfig(), BatchShape(8, 16), mesh
  )
  state = built.init(jax.random.key(0))
  up = state.params['decoder']['layers']['ffn']['up']['kernel']
  assert up.shape == (2, 16, 24)
  assert up.sharding.spec == PartitionSpec(None, 'fsdp', 'tensor')
  assert up.addressable_shards[0].data.shape == (2, 8, 12)
  moment = state.optimizer_state[1].mu['decoder']['layers']['ffn']['up'][
    'kernel'
  ]
  assert moment.sharding == up.sharding
  embedding = state.params['embedding']['table']
  assert embedding.addressable_shards[0].data.shape == (160, 8)

"""Meshes, the rows of each process, and where a state lies."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec

from configs.errors import UserError
from configs.tree import to_dataclass, with_overrides
from data.batch import BatchShape
from train import program
from train.config import RunConfig, StepConfig
from train.mesh import sharding
from train.mesh.config import MeshConfig
from train.mesh.rules import MESH_AXES
from train.mesh.slices import arranged
from train.step import TrainState


def _config(**sizes):
  return MeshConfig(**{'data': 1, 'fsdp': 1, 'tensor': 1, **sizes})


@pytest.mark.parametrize(
  ('sizes', 'devices', 'shape'),
  [
    ({'data': -1}, 8, {'data': 8}),
    (
      {'data': 2, 'fsdp': -1, 'tensor': 2},
      8,
      dict.fromkeys(('data', 'fsdp', 'tensor'), 2),
    ),
    ({'sequence': -1, 'expert': 2}, 8, {'sequence': 4, 'expert': 2}),
    ({'fsdp': -1, 'dcn_fsdp': 2}, 8, {'fsdp': 8}),
    ({'data': 2, 'expert': 2}, 4, {'data': 2, 'expert': 2}),
  ],
)
def test_minus_one_fills_the_mesh(sizes, devices, shape):
  config = _config(**sizes)
  config.validate()
  found = dict(zip(MESH_AXES, config.shape(devices), strict=True))
  assert {axis: n for axis, n in found.items() if n > 1} == shape


@pytest.mark.parametrize(
  ('sizes', 'why'),
  [
    ({'data': 3}, r'= \(3, 1, 1, 1, 1\) makes up 3 devices, .* 8 devices'),
    ({'data': 8, 'sequence': 2}, 'makes up 16 devices, and there are 8 dev'),
    ({'data': -1, 'fsdp': 3}, r'3 does not divide 8 devices.*mesh\.data'),
    (
      {'data': -1, 'tensor': 2, 'dcn_data': 3},
      r'mesh\.dcn_data = 3: 3 slices do not divide mesh\.data = 4',
    ),
  ],
)
def test_a_mesh_that_misses_devices_is_refused(sizes, why):
  config = _config(**sizes)
  config.validate()
  with pytest.raises(UserError, match=why):
    config.shape(8)


@pytest.mark.parametrize(
  ('sizes', 'why'),
  [
    ({'sequence': 0}, r'mesh\.sequence = 0: at least 1, or -1'),
    ({'data': -1, 'expert': -1}, 'only one axis can be -1'),
    ({'dcn_fsdp': 0}, r'mesh\.dcn_fsdp = 0: at least 1 slice'),
    ({'dcn_data': -1}, r'mesh\.dcn_data = -1: at least 1 slice'),
    ({'fsdp': 6, 'dcn_fsdp': 4}, r'4 slices do not divide mesh\.fsdp = 6'),
  ],
)
def test_sizes_that_cannot_be_are_refused(sizes, why):
  with pytest.raises(UserError, match=why):
    _config(**sizes).validate()


def _ids(devices):
  return np.vectorize(lambda device: device.id)(devices)


def test_blocks_of_devices_stand_for_slices():
  config = _config(data=2, fsdp=2, tensor=2, dcn_fsdp=2)
  mesh = sharding.make_mesh(config)
  # Devices 0 to 3 are a slice: its fsdp is 0, whatever data and tensor are.
  ids = _ids(mesh.devices)[:, :, 0, :, 0]
  assert ids.tolist() == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]
  config = _config(data=2, fsdp=4, dcn_data=2, dcn_fsdp=2)
  ids = _ids(sharding.make_mesh(config).devices)[:, :, 0, 0, 0]
  assert ids.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def _far(index, **attributes):
  return types.SimpleNamespace(
    id=index, platform='gpu', device_kind='a GPU', **attributes
  )


@pytest.mark.parametrize('what', ['process_index', 'slice_index'])
def test_slices_and_processes_are_kept_together(what):
  """Though their devices come in another order."""
  devices = [
    _far(n, **{'process_index': n // 2, what: (n + 1) % 2}) for n in range(8)
  ]
  config = _config(data=4, fsdp=2, dcn_data=2)
  ids = _ids(arranged(config, devices))[:, :, 0, 0, 0]
  assert (ids[:2] % 2 == 1).all() and (ids[2:] % 2 == 0).all()


def test_tpus_of_other_slices_are_refused():
  devices = [
    types.SimpleNamespace(
      id=n, platform='tpu', device_kind='TPU v5', slice_index=n // 4
    )
    for n in range(8)
  ]
  with pytest.raises(UserError, match='= 1 x 1: the 8 devices are of 2 slices'):
    arranged(_config(data=8), devices)


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


@pytest.mark.parametrize(
  ('shape', 'why'),
  [
    (BatchShape(8, 12), r'data\.sequence_length: .*of 12 .*sequence = 8'),
    (BatchShape(8, 8, 12), r'data\.sequence_length: .*of 12 .*sequence = 8'),
    (BatchShape(8, 6, 16), r'data\.target_length: .*of 6 .*sequence = 8'),
  ],
)
def test_a_length_that_does_not_divide_is_refused(shape, why):
  mesh = sharding.make_mesh(_config(sequence=8))
  with pytest.raises(UserError, match=why):
    sharding.check_batch(shape, 1, mesh)


def test_one_process_holds_all_rows_in_their_order():
  mesh = sharding.make_mesh(MeshConfig(2, 2, 2))
  assert sharding.local_rows(mesh, 8) == slice(0, 8)
  rows = np.arange(8 * 3).reshape(8, 3)
  placed = sharding.put_batch({'tokens': rows}, mesh, 8)['tokens']
  np.testing.assert_array_equal(placed, rows)
  # Four ways over data and fsdp, the same rows along tensor.
  assert {shard.data.shape for shard in placed.addressable_shards} == {(2, 3)}


def test_sequences_are_divided_where_they_divide():
  mesh = sharding.make_mesh(_config(data=2, sequence=4))
  rows = {
    'tokens': np.arange(4 * 8).reshape(4, 8),
    'labels': np.arange(4).reshape(4, 1),
  }
  placed = sharding.put_batch(rows, mesh, 4)
  shapes = {'tokens': (2, 2), 'labels': (2, 1)}
  for name, array in placed.items():
    np.testing.assert_array_equal(array, rows[name])
    assert {s.data.shape for s in array.addressable_shards} == {shapes[name]}


def test_fsdp_and_tensor_divide_parameters_and_moments(tiny_config):
  config = to_dataclass(
    RunConfig,
    with_overrides(
      tiny_config, {'mesh.data': 2, 'mesh.fsdp': 2, 'mesh.tensor': 2}
    ),
  )
  mesh = sharding.make_mesh(config.mesh)
  built = program.lower(
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


def test_no_device_and_no_host_ever_holds_all_of_a_new_state(tiny_config):
  """Parameters are drawn where they lie, each device its own part."""
  config = to_dataclass(
    RunConfig,
    with_overrides(tiny_config, {'model.width': 64, 'model.ffn_width': 512}),
  )
  mesh = sharding.make_mesh(_config(fsdp=8))
  built = program.lower(
    config.model, config.optimizer, StepConfig(), BatchShape(8, 16), mesh
  )
  key = jax.device_put(
    jax.random.key(0), jax.NamedSharding(mesh, PartitionSpec())
  )
  with jax.transfer_guard('disallow'):
    state = built.init(key)
  matrices = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim > 2]
  assert len(matrices) == 3 * 7
  for leaf in matrices:
    for shard in leaf.addressable_shards:
      assert shard.data.size == leaf.size // 8
  used = built.init.lower(key).compile().memory_analysis()
  whole = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
  assert used.output_size_in_bytes < 1.05 * whole / 8
  # What is drawn on the way is no array in whole either.
  assert used.temp_size_in_bytes < max(leaf.nbytes for leaf in matrices)


def _state(mesh, placement, optimizer_state):
  kernel = nn.LogicallyPartitioned(jnp.zeros((16, 8)), ('embed', 'ffn'))
  params = {'a': {'kernel': kernel}, 'kernel': kernel}
  state = TrainState(jnp.int32(0), params, optimizer_state)
  return sharding.state_shardings(state, mesh, placement)


def test_moments_are_known_by_their_path_and_shape():
  config = _config(
    fsdp=4, tensor=2, strategy='zero1', overrides=('a.kernel: none, fsdp',)
  )
  mesh = sharding.make_mesh(config)
  kept = {
    'mu': {'a': {'kernel': jnp.zeros((16, 8))}, 'kernel': jnp.zeros((16, 8))},
    'rows': {'a': {'kernel': jnp.zeros(16)}, 'kernel': jnp.zeros(16)},
    'count': jnp.int32(0),
  }
  found = _state(mesh, config.placement, kept)
  assert found.params['a']['kernel'].spec == PartitionSpec(None, 'fsdp')
  assert found.params['kernel'].spec == PartitionSpec(None, 'tensor')
  mu = found.optimizer_state['mu']
  assert mu['a']['kernel'].spec == PartitionSpec(None, 'fsdp')
  assert mu['kernel'].spec == PartitionSpec('fsdp', 'tensor')
  rest = (
    found.step,
    found.optimizer_state['rows'],
    found.optimizer_state['count'],
  )
  assert {leaf.spec for leaf in jax.tree.leaves(rest)} == {PartitionSpec()}


@pytest.mark.parametrize(
  ('override', 'why'),
  [
    (
      'b.kernel: none, fsdp',
      'matches no parameter; there are a.kernel, kernel',
    ),
    ('a.kernel: fsdp', r'1 entries, and a\.kernel has 2 dimensions, \(16, 8\)'),
    ('kernel: none, fsdp+tensor', r'a\.kernel: its ffn axis of 8.* = 32'),
  ],
)
def test_an_override_that_does_not_fit_is_told(override, why):
  config = _config(fsdp=16, tensor=2, overrides=(override,))
  mesh = jax.sharding.AbstractMesh(config.shape(32), MESH_AXES)
  with pytest.raises(UserError, match=why):
    _state(mesh, config.placement, {})

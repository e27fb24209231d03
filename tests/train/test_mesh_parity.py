"""The same losses on every mesh."""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest

from configs.errors import UserError
from configs.tree import to_dataclass, with_overrides
from data.batch import BatchShape
from train import loop, metrics
from train import program as programs
from train.config import RunConfig, StepConfig
from train.mesh.config import MeshConfig
from train.mesh.rules import MESH_AXES
from train.mesh.sharding import local_rows, make_mesh, put_batch

# What a model and its batch are for each objective, and the share that counts.
OBJECTIVES = {
  'causal': ({}, BatchShape(8, 16), 1.0),
  'masked': (
    {'architecture': 'encoder', 'tied_head': True, 'mlm_head': True},
    BatchShape(8, 16),
    0.3,
  ),
  'spans': (
    {'architecture': 'encoder_decoder', 'positions': 'relative'},
    BatchShape(8, 8, source_length=16),
    1.0,
  ),
}
DENSE = 'dense'
EXPERTS = {'num_experts': 8, 'ffn_width': 8}
MODELS = {
  DENSE: {},
  'dropless': EXPERTS,
  'capacity': EXPERTS | {'expert_capacity': 1.25},
}
# Decoders with experts, as they are on meshes: nothing is kept for the backward
# pass of a loop.
LOOPED = {'scan_layers': True, 'remat': 'full'}
# Compiles in two thirds of the time; how a program is divided stays.
FAST = {'xla_backend_optimization_level': 0}


def _mesh(**sizes):
  return MeshConfig(**{'data': 1, 'fsdp': 1, 'tensor': 1, **sizes})


ONE = _mesh()


def _batch(shape, vocab_size, share):
  """Two documents a row, and padding after them."""
  random = np.random.default_rng(0)
  batch = shape.empty(shape.batch_size)
  for name, array in batch.items():
    half = array.shape[1] // 2 - 1
    segments = np.repeat([1, 2, 0], [half, half, 2])
    if name.endswith('segment_ids'):
      array[:] = segments
    elif name.endswith('positions'):
      array[:] = np.concatenate([np.arange(half), np.arange(half), [0, 0]])
    elif name == 'weights':
      array[:] = (segments > 0) * (random.random(array.shape) < share)
    else:
      array[:] = random.integers(0, vocab_size, array.shape)
  return batch


@pytest.fixture(scope='module')
def losses_of(tiny_config):
  """(objective, mesh, model, micro-batches) to the losses of a few steps.

  All are on one batch, from what one device draws.
  """
  run_config = to_dataclass(RunConfig, tiny_config)
  small = {'num_layers': 1, 'num_heads': 8, 'num_kv_heads': 8}

  @functools.cache
  def lowered(objective, mesh_config, model, accumulate_steps):
    changes, shape, _ = OBJECTIVES[objective]
    config = dataclasses.replace(
      run_config.model, **small, **changes, **MODELS[model]
    )
    if model != DENSE and objective == 'causal' and mesh_config != ONE:
      config = dataclasses.replace(config, **LOOPED)
    count = np.prod([getattr(mesh_config, axis) for axis in MESH_AXES])
    return programs.lower(
      config,
      run_config.optimizer,
      StepConfig(accumulate_steps),
      shape,
      make_mesh(mesh_config, jax.devices()[:count]),
      mesh_config.placement,
    )

  @functools.cache
  def started(objective, model):
    state = lowered(objective, ONE, model, 1).init(jax.random.key(0))
    return jax.tree.map(np.array, state)

  @functools.cache
  def run(objective, mesh_config, model=DENSE, accumulate_steps=1):
    _, shape, share = OBJECTIVES[objective]
    program = lowered(objective, mesh_config, model, accumulate_steps)
    state = jax.tree.map(
      lambda x, leaf: jax.device_put(x, leaf.sharding),
      started(objective, model),
      program.abstract_state,
    )
    rows = local_rows(program.mesh, shape.batch_size)
    whole = _batch(shape, run_config.model.vocab_size, share)
    local = {key: x[rows] for key, x in whole.items()}
    batch, losses = put_batch(local, program.mesh, shape.batch_size), []
    train_step = program.train_step.compile(compiler_options=FAST)
    for _ in range(4):
      state, found = train_step(state, batch, np.float32(3e-3), None)
      losses.append(float(found['loss']))
    return np.array(losses)

  return run


@pytest.mark.parametrize('objective', OBJECTIVES)
def test_steps_on_one_batch_lower_its_loss(losses_of, objective):
  losses = losses_of(objective, ONE)
  assert (np.diff(losses) < 0).all()
  assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize('axis', MESH_AXES)
@pytest.mark.parametrize('objective', OBJECTIVES)
def test_losses_do_not_depend_on_any_axis(losses_of, objective, axis):
  model = 'dropless' if axis == 'expert' else DENSE
  losses = losses_of(objective, _mesh(**{axis: 8}), model)
  np.testing.assert_allclose(
    losses, losses_of(objective, ONE, model), rtol=1e-5
  )


LAYOUTS = {
  'zero1': ({'fsdp': 4, 'sequence': 2}, 'causal', DENSE),
  'megatron_sp': ({'sequence': 2, 'tensor': 4}, 'spans', DENSE),
}


@pytest.mark.parametrize('strategy', LAYOUTS)
def test_losses_do_not_depend_on_the_strategy(losses_of, strategy):
  sizes, objective, model = LAYOUTS[strategy]
  mesh = _mesh(**sizes, strategy=strategy)
  losses = losses_of(objective, mesh, model)
  np.testing.assert_allclose(
    losses, losses_of(objective, ONE, model), rtol=1e-5
  )


def test_losses_do_not_depend_on_overrides(losses_of):
  overrides = (
    'embedding.table: none, tensor+data',
    r'ffn\.(up|gate)\.kernel: none, data, none',
  )
  mesh = _mesh(data=4, tensor=2, overrides=overrides)
  losses = losses_of('masked', mesh)
  np.testing.assert_allclose(losses, losses_of('masked', ONE), rtol=1e-5)


def test_experts_with_capacity_learn_the_same_wherever_they_lie(losses_of):
  losses = losses_of('causal', _mesh(fsdp=2, sequence=2, expert=2), 'capacity')
  one = losses_of('causal', ONE, 'capacity')
  np.testing.assert_allclose(losses, one, rtol=1e-5)


def test_micro_batches_add_up_to_the_batch(losses_of):
  losses = losses_of('spans', _mesh(data=2, fsdp=2, tensor=2), DENSE, 2)
  np.testing.assert_allclose(losses, losses_of('spans', ONE), rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize(
  'pair', list(itertools.combinations(MESH_AXES, 2)), ids='+'.join
)
@pytest.mark.parametrize('objective', OBJECTIVES)
def test_losses_do_not_depend_on_pairs_of_axes(losses_of, objective, pair):
  model = 'dropless' if 'expert' in pair else DENSE
  losses = losses_of(objective, _mesh(**{pair[0]: 2, pair[1]: 4}), model)
  np.testing.assert_allclose(
    losses, losses_of(objective, ONE, model), rtol=1e-5
  )


@pytest.mark.long
@pytest.mark.parametrize('strategy', LAYOUTS)
@pytest.mark.parametrize('model', ['dropless', 'capacity'])
def test_losses_of_experts_do_not_depend_on_the_strategy(
  losses_of, strategy, model
):
  mesh = _mesh(fsdp=2, tensor=2, expert=2, strategy=strategy)
  losses = losses_of('causal', mesh, model)
  np.testing.assert_allclose(losses, losses_of('causal', ONE, model), rtol=1e-5)


def _logged(config, folder, devices):
  loop.run(config, folder, devices=devices, show_progress=False)
  lines = metrics.read_metrics(folder / metrics.METRICS)
  names = 'loss', 'validation_loss'
  return np.array([line[n] for line in lines for n in names if n in line])


def test_a_run_lays_parameters_out_as_its_config_says(tiny_config, tmp_path):
  wrong = with_overrides(tiny_config, {'mesh.overrides': ('mine: none',)})
  with pytest.raises(UserError, match=r'mesh\.overrides\[0\] .* no parameter'):
    loop.run(wrong, tmp_path, devices=jax.devices()[:1])


@pytest.mark.long
def test_a_run_logs_the_same_on_a_mesh_of_every_kind(tiny_config, tmp_path):
  short = {
    'train.num_steps': 6,
    'train.eval_every_steps': 0,
    'schedule.decay_steps': 2,
    'model.num_layers': 1,
  }
  config = with_overrides(tiny_config, short)
  divided = with_overrides(
    config,
    {
      'mesh.fsdp': 2,
      'mesh.sequence': 2,
      'mesh.tensor': -1,
      'mesh.dcn_fsdp': 2,
      'mesh.strategy': 'megatron_sp',
      'mesh.overrides': ('head: tensor, none',),
    },
  )
  one = _logged(config, tmp_path / 'one', jax.devices()[:1])
  assert len(one) == 7
  found = _logged(divided, tmp_path / 'divided', jax.devices())
  np.testing.assert_allclose(found, one, rtol=1e-5)

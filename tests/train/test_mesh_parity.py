"""The same losses on every mesh."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from configs.tree import to_dataclass, with_overrides
from data.batch import BatchShape
from train import loop, metrics
from train import program as programs
from train.config import RunConfig, StepConfig
from train.mesh_config import MeshConfig
from train.sharding import local_rows, make_mesh, put_batch

ONE = 1, 1, 1
MESHES = [ONE, (8, 1, 1), (1, 8, 1), (1, 1, 4), (2, 2, 2)]
EXPERTS = {'model.num_experts': 4, 'model.ffn_width': 8}


def _losses(config, mesh, folder):
  axes = ('mesh.data', 'mesh.fsdp', 'mesh.tensor', 'mesh.expert')
  shaped = with_overrides(config, dict(zip(axes, mesh, strict=False)))
  loop.run(
    shaped,
    folder,
    devices=jax.devices()[: np.prod(mesh)],
    show_progress=False,
  )
  lines = metrics.read_metrics(folder / metrics.METRICS)
  return np.array([line['loss'] for line in lines if 'loss' in line])


@pytest.fixture(scope='module')
def one_device(tiny_config, tmp_path_factory):
  losses = _losses(tiny_config, MESHES[0], tmp_path_factory.mktemp('one'))
  assert len(losses) == 40
  return losses


@pytest.mark.parametrize('mesh', MESHES[1:], ids=str)
def test_losses_do_not_depend_on_the_mesh(
  tiny_config, one_device, mesh, tmp_path
):
  losses = _losses(tiny_config, mesh, tmp_path)
  np.testing.assert_allclose(losses, one_device, rtol=1e-5)


def test_micro_batches_add_up_to_the_batch(tiny_config, one_device, tmp_path):
  config = with_overrides(tiny_config, {'train.accumulate_steps': 4})
  losses = _losses(config, (1, 2, 1), tmp_path)
  np.testing.assert_allclose(losses, one_device, rtol=1e-5)


@pytest.mark.parametrize('capacity', [0.0, 1.25], ids=['dropless', 'capacity'])
def test_experts_learn_the_same_wherever_they_lie(
  tiny_config, capacity, tmp_path
):
  """Nor does it matter that a loop keeps nothing for the backward pass."""
  overrides = EXPERTS | {
    'model.expert_capacity': capacity,
    'train.num_steps': 12,
    'train.eval_every_steps': 0,
    'train.accumulate_steps': 2,
  }
  config = with_overrides(tiny_config, overrides)
  one = _losses(config, (1, 1, 1, 1), tmp_path / 'one')
  looped = {'model.scan_layers': True, 'model.remat': 'full'}
  other = _losses(
    with_overrides(config, looped), (1, 2, 2, 2), tmp_path / 'other'
  )
  np.testing.assert_allclose(other, one, rtol=1e-5)
  assert one[-1] < one[0]


# Beside decoders: a model, the batch it takes, and the share that it learns.
OBJECTIVES = {
  'masked': (
    {'architecture': 'encoder', 'tied_head': True, 'mlm_head': True},
    BatchShape(8, 12),
    0.3,
  ),
  'spans': (
    {'architecture': 'encoder_decoder', 'positions': 'relative'},
    BatchShape(8, 6, source_length=10),
    1.0,
  ),
}


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
  """(objective, mesh, micro-batches) to the losses of a batch, six times over.

  The last is that of the evaluation. All start from what one device draws.
  """
  run_config = to_dataclass(RunConfig, tiny_config)

  def built(objective, sizes, accumulate_steps=1):
    changes, shape, _ = OBJECTIVES[objective]
    config = dataclasses.replace(run_config.model, num_layers=1, **changes)
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[: np.prod(sizes)])
    return programs.build(
      config,
      run_config.optimizer,
      StepConfig(accumulate_steps),
      shape,
      mesh,
    )

  @functools.cache
  def started(objective):
    state = built(objective, ONE).init(jax.random.key(0))
    return jax.tree.map(np.array, state)

  @functools.cache
  def run(objective, *sizes_and_steps):
    _, shape, share = OBJECTIVES[objective]
    program = built(objective, *sizes_and_steps)
    state = jax.tree.map(
      lambda x, leaf: jax.device_put(x, leaf.sharding),
      started(objective),
      program.abstract_state,
    )
    rows = local_rows(program.mesh, shape.batch_size)
    whole = _batch(shape, run_config.model.vocab_size, share)
    local = {key: x[rows] for key, x in whole.items()}
    batch, losses = put_batch(local, program.mesh, shape.batch_size), []
    for _ in range(5):
      state, found = program.train_step(state, batch, np.float32(3e-3), None)
      losses.append(float(found['loss']))
    table_V = np.ones(run_config.model.vocab_size, np.float32)
    sums = program.eval_step(state.params, batch, table_V)
    assert sums['bytes'] == sums['weight'] == whole['weights'].sum()
    return np.array([*losses, float(sums['nats'] / sums['weight'])])

  return run


@pytest.mark.parametrize('objective', OBJECTIVES)
def test_steps_on_one_batch_lower_its_loss(losses_of, objective):
  losses = losses_of(objective, ONE)
  assert losses[1] < losses[0]
  assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize(
  'case',
  [
    ('masked', (8, 1, 1)),
    pytest.param(('masked', (2, 2, 2), 2), marks=pytest.mark.long),
    pytest.param(('spans', (8, 1, 1)), marks=pytest.mark.long),
    ('spans', (1, 8, 1)),
    pytest.param(('spans', (1, 1, 4)), marks=pytest.mark.long),
    ('spans', (2, 2, 2), 2),  # micro-batches
  ],
  ids=str,
)
def test_other_objectives_learn_the_same_however_divided(losses_of, case):
  one = losses_of(case[0], ONE)
  np.testing.assert_allclose(losses_of(*case), one, rtol=1e-5)

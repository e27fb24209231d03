"""The same losses on every mesh."""

import jax
import numpy as np
import pytest

from configs.tree import with_overrides
from train import loop, metrics

MESHES = [(1, 1, 1), (8, 1, 1), (1, 8, 1), (1, 1, 4), (2, 2, 2)]
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

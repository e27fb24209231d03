"""The training step, compiled for TPUs that are not there."""

import re

import numpy as np
import pytest
from jax.experimental import topologies

from configs.errors import UserError
from configs.tree import to_dataclass, with_overrides
from data.batch import BatchShape
from train import program
from train.config import RunConfig, StepConfig
from train.mesh import sharding
from train.mesh.config import MeshConfig

MODEL = {
  'model.num_layers': 4,
  'model.scan_layers': True,
  'model.width': 128,
  'model.num_heads': 4,
  'model.num_kv_heads': 2,
  'model.head_width': 128,
  'model.ffn_width': 128,
  'model.compute_dtype': 'bfloat16',
}


@pytest.fixture(scope='module')
def topology():
  """(slices) to the eight chips of v5e in each.

  The compiler for them is all that is needed.
  """
  pytest.importorskip('libtpu', reason='libtpu, of the extra `tpu`, compiles')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('TPU_SKIP_MDS_QUERY', '1')
    patch.setenv('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
    yield (
      lambda slices: (
        topologies.get_topology_desc(
          platform='tpu', topology_name='v5e:2x4', num_slices=slices
        ).devices
      )
    )


@pytest.fixture(scope='module')
def devices(topology):
  return topology(1)


def _compiled(tiny_config, devices, mesh, attention):
  overrides = MODEL | {'model.attention': attention}
  config = to_dataclass(RunConfig, with_overrides(tiny_config, overrides))
  return program.build(
    config.model,
    config.optimizer,
    StepConfig(),
    BatchShape(8, 1024),
    sharding.make_mesh(mesh, devices),
    mesh.placement,
  ).train_step


@pytest.mark.parametrize(
  'mesh',
  [
    pytest.param(MeshConfig(4, 1, 2), marks=pytest.mark.long),
    pytest.param(MeshConfig(1, 8, 1), marks=pytest.mark.long),
    MeshConfig(1, 1, 2, sequence=4, strategy='megatron_sp'),
  ],
  ids=str,
)
def test_a_step_for_tpus_holds_no_scores(tiny_config, devices, mesh):
  by_splash = _compiled(tiny_config, devices, mesh, 'auto')
  by_xla = _compiled(tiny_config, devices, mesh, 'xla')
  calls = 'custom_call_target="tpu_custom_call"'
  text = by_splash.as_text()
  assert text.count(calls) == 3  # forward, and backward of q and of k and v
  for kernel in ('fwd', 'dq', 'dkv'):
    assert re.search(f'splash_mha_{kernel}_segmented', text)
  assert calls not in by_xla.as_text()

  def temporaries(step):
    return step.memory_analysis().temp_size_in_bytes

  assert temporaries(by_splash) < temporaries(by_xla)


def test_slices_exchange_sums_of_gradients_alone(tiny_config, topology):
  devices = topology(2)
  assert len(devices) == 16
  mesh = MeshConfig(2, 4, 2, dcn_data=2)
  placed = sharding.make_mesh(mesh, devices)
  slices = np.vectorize(lambda device: device.slice_index)(placed.devices)
  assert (slices[0] == 0).all() and (slices[1] == 1).all()
  step = _compiled(tiny_config, devices, mesh, 'auto')
  # What goes over the network between slices is handed to its runtime.
  sent = re.findall(r' send\(.*megascale_transfer_type="(\w+)"', step.as_text())
  assert sent and set(sent) == {'ALL_REDUCE'}


def test_devices_of_two_slices_need_a_mesh_that_says_so(topology):
  with pytest.raises(UserError, match=r'= 1 x 1: the 16 .* are of 2 slices'):
    sharding.make_mesh(MeshConfig(16, 1, 1), topology(2))

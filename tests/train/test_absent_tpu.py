"""The training step, compiled for TPUs that are not there."""

import re

import pytest
from jax.experimental import topologies

from configs.tree import to_dataclass, with_overrides
from data.batch import BatchShape
from train import program, sharding
from train.config import RunConfig, StepConfig
from train.mesh_config import MeshConfig

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
def devices():
  """Eight chips of v5e; the compiler for them is all that is needed."""
  pytest.importorskip('libtpu', reason='libtpu, of the extra `tpu`, compiles')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('TPU_SKIP_MDS_QUERY', '1')
    patch.setenv('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
    return topologies.get_topology_desc(
      platform='tpu', topology_name='v5e:2x4'
    ).devices


def _compiled(tiny_config, devices, mesh, attention):
  overrides = MODEL | {'model.attention': attention}
  config = to_dataclass(RunConfig, with_overrides(tiny_config, overrides))
  return program.build(
    config.model,
    config.optimizer,
    StepConfig(),
    BatchShape(8, 1024),
    sharding.make_mesh(MeshConfig(*mesh), devices),
  ).train_step


@pytest.mark.parametrize('mesh', [(4, 1, 2), (1, 8, 1)], ids=str)
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

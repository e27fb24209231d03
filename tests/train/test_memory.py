"""What a compiled step holds: of the state, of logits, of layers."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.experimental import topologies

from configs.tree import to_dataclass, with_overrides
from data.batch import BatchShape
from train import program, sharding
from train.config import RunConfig, StepConfig
from train.mesh_config import MeshConfig

MODEL = {
  'model.vocab_size': 8192,
  'model.num_layers': 4,
  'model.scan_layers': True,
  'model.width': 128,
  'model.num_heads': 2,
  'model.num_kv_heads': 2,
  'model.head_width': 128,
  'model.ffn_width': 256,
  'model.compute_dtype': 'bfloat16',
}
LOGITS = 2 * 1024 * 8192 * 4  # bytes on each of four devices
STREAMS = 4 * 2 * 1024 * 128 * 2  # of four layers


@pytest.fixture(scope='module')
def tpus():
  """Four chips of v5p; the compiler for them is all that is needed."""
  pytest.importorskip('libtpu', reason='libtpu, of the extra `tpu`, compiles')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('TPU_SKIP_MDS_QUERY', '1')
    patch.setenv('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
    yield topologies.get_topology_desc(
      platform='tpu', topology_name='v5p:2x2x1'
    ).devices


def _lowered(tiny_config, devices, chunks=1, **model):
  config = to_dataclass(RunConfig, with_overrides(tiny_config, MODEL))
  return program.lower(
    dataclasses.replace(config.model, **model),
    config.optimizer,
    StepConfig(loss_chunks=chunks),
    BatchShape(8, 1024),
    sharding.make_mesh(MeshConfig(1, 4, 1), devices),
  )


def _state_bytes(lowered):
  """On each device."""
  leaves = jax.tree.leaves(lowered.abstract_state)
  return sum(
    np.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in leaves
  )


@pytest.fixture(scope='module')
def step_of(tiny_config, tpus):
  """(policy, chunks) to a step for TPUs, with the bytes of its state."""

  def compiled(remat, chunks):
    lowered = _lowered(tiny_config, tpus, chunks, remat=remat)
    memory = lowered.train_step.compile().memory_analysis()
    return memory, _state_bytes(lowered)

  return compiled


def test_tmp(step_of):
  for r,c in (('full',1),('full',8),('offload',8),('none',8),('dots',8)):
    m,s=step_of(r,c)
    print(r,c,m.temp_size_in_bytes/1e6,(m.peak_memory_in_bytes-m.argument_size_in_bytes)/1e6,m.alias_size_in_bytes,s,m.host_temp_size_in_bytes/STREAMS,LOGITS/1e6,STREAMS/1e6)
  assert 0

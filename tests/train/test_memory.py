"""What a compiled step holds: of the state, of logits, of layers."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from jax.experimental import topologies

from configs.tree import to_dataclass, with_overrides
from data.batch import BatchShape
from train import program
from train.config import RunConfig, StepConfig
from train.mesh import sharding
from train.mesh.config import MeshConfig

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


def _held(memory):
  """Of temporaries at once, in bytes."""
  return memory.peak_memory_in_bytes - memory.argument_size_in_bytes


@pytest.fixture(scope='module')
def memory_of(tiny_config, tpus):
  """(policy, chunks) to what a step for TPUs holds on each."""

  @functools.cache
  def of(remat, chunks):
    lowered = _lowered(tiny_config, tpus, chunks, remat=remat)
    return lowered.train_step.compile().memory_analysis()

  return of


def test_a_step_takes_over_the_memory_of_the_state(tiny_config):
  lowered = _lowered(tiny_config, jax.devices()[:4], num_layers=1)
  memory = lowered.train_step.compile().memory_analysis()
  assert memory.alias_size_in_bytes == _state_bytes(lowered)


def test_a_step_of_tpus_takes_over_the_memory_of_the_state(
  tiny_config, tpus, memory_of
):
  state = _state_bytes(_lowered(tiny_config, tpus))
  memory = memory_of('full', 8)
  # Arrays are padded to tiles there. What else comes out are two numbers.
  assert state <= memory.alias_size_in_bytes < 1.001 * state
  assert memory.output_size_in_bytes - memory.alias_size_in_bytes < 10_000


def test_chunks_hold_a_part_of_the_logits(memory_of):
  plain, chunked = memory_of('full', 1), memory_of('full', 8)
  assert plain.temp_size_in_bytes > LOGITS
  assert chunked.temp_size_in_bytes < LOGITS / 2
  assert _held(plain) - _held(chunked) > 0.8 * LOGITS


def test_offload_keeps_what_layers_read_in_the_hosts_memory(memory_of):
  full, offloaded = memory_of('full', 8), memory_of('offload', 8)
  assert full.host_temp_size_in_bytes == 0
  assert offloaded.host_temp_size_in_bytes == STREAMS
  assert offloaded.temp_size_in_bytes < full.temp_size_in_bytes
  assert _held(offloaded) < _held(full)


@pytest.mark.long
def test_the_less_is_kept_the_less_is_held(memory_of):
  policies = 'none', 'dots', 'full', 'offload'
  for held in (_held, lambda memory: memory.temp_size_in_bytes):
    sizes = [held(memory_of(policy, 8)) for policy in policies]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)

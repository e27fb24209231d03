"""What devices exchange and hold of activations, told by compiled programs."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest

from configs.tree import to_dataclass, with_overrides
from data.batch import BatchShape
from model.divided import constrained
from train import program
from train.config import RunConfig, StepConfig
from train.mesh import sharding
from train.mesh.config import MeshConfig

# All different, so that a shape tells what an array is of.
ROWS, LENGTH, WIDTH, HEADS, HEAD_WIDTH = 8, 64, 96, 16, 4
EXCHANGES = ('all-gather', 'all-to-all', 'collective-permute')


@pytest.fixture(scope='module')
def compiled(tiny_config):
  """Sizes of a mesh to the step of a decoder of one layer."""
  shape = {
    'model.num_layers': 1,
    'model.width': WIDTH,
    'model.num_heads': HEADS,
    'model.num_kv_heads': HEADS,
    'model.head_width': HEAD_WIDTH,
    'model.ffn_width': 160,
  }
  config = to_dataclass(RunConfig, with_overrides(tiny_config, shape))

  @functools.cache
  def run(**changes):
    mesh_config = MeshConfig(**{'data': 1, 'fsdp': 1, 'tensor': 1, **changes})
    count = mesh_config.sequence * mesh_config.tensor
    mesh = sharding.make_mesh(mesh_config, jax.devices()[:count])
    return program.lower(
      config.model,
      config.optimizer,
      StepConfig(),
      BatchShape(ROWS, LENGTH),
      mesh,
      mesh_config.placement,
    ).train_step.compile(compiler_options={'xla_backend_optimization_level': 0})

  return run


def _exchanged(step):
  """(kind, shape) of what devices send to each other whole, floats alone."""
  found = set()
  for line in step.as_text().splitlines():
    for kind in EXCHANGES:
      result, call, _ = line.partition(f' {kind}(')
      if call:
        shapes = re.findall(r'f32\[([\d,]*)\]', result)
        found |= {(kind, tuple(map(int, s.split(',')))) for s in shapes}
  return found


def _temporaries(step):
  return step.memory_analysis().temp_size_in_bytes


def test_context_parallelism_gathers_keys_and_values_alone(compiled):
  step, whole = compiled(sequence=8), compiled()
  assert _exchanged(step) == {('all-gather', (ROWS, LENGTH, HEADS, HEAD_WIDTH))}
  # Each device computes its eighth of all scores, and holds no more of them.
  part = step.cost_analysis()['flops'] / whole.cost_analysis()['flops']
  assert 0.9 / 8 < part < 1.3 / 8
  assert _temporaries(step) < _temporaries(whole) / 4


def test_sequence_parallelism_gathers_the_stream_alone(compiled):
  step, tensor = compiled(tensor=8, strategy='megatron_sp'), compiled(tensor=8)
  assert _exchanged(tensor) == set()
  assert _exchanged(step) == {('all-gather', (ROWS, LENGTH, WIDTH))}
  assert _temporaries(step) < _temporaries(tensor)


@pytest.mark.parametrize(('length', 'held'), [(16, 2), (12, 12), (1, 1)])
def test_a_dimension_that_does_not_divide_is_whole(length, held):
  mesh = sharding.make_mesh(MeshConfig(1, 1, 1, sequence=8))
  with jax.set_mesh(mesh), sharding.logical_rules():
    divided = jax.jit(lambda x: constrained(x, ('batch', 'length')))
    placed = divided(jnp.zeros((2, length)))
  assert placed.sharding.shard_shape(placed.shape) == (2, held)

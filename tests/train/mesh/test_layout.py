"""The table of what lies where."""

import jax
import jax.numpy as jnp
import pytest

from configs.tree import to_dataclass
from data.batch import BatchShape
from train import program
from train.config import RunConfig, StepConfig
from train.mesh import sharding
from train.mesh.config import MeshConfig
from train.mesh.layout import layout_table


@pytest.fixture(scope='module')
def run_config(tiny_config):
  return to_dataclass(RunConfig, tiny_config)


def _abstract(run_config, **mesh):
  config = MeshConfig(**{'data': 1, 'fsdp': 1, 'tensor': 1, **mesh})
  return program.lower(
    run_config.model,
    run_config.optimizer,
    StepConfig(),
    BatchShape(8, 16),
    sharding.make_mesh(config),
    config.placement,
  ).abstract_state


def _line(table, path):
  (line,) = [
    line.split('  ')
    for line in table.splitlines()
    if line.startswith(f'{path} ')
  ]
  return [cell.strip() for cell in line if cell.strip()]


def test_each_array_has_a_line_with_what_a_device_holds(run_config):
  state = _abstract(run_config, data=2, fsdp=2, tensor=2)
  table = layout_table(state)
  up = 'decoder.layers.ffn.up.kernel'
  # 2 layers x 16 / 2 x 24 / 2, in float32.
  expected = ['2 x 16 x 24', 'float32', '-, fsdp, tensor', '768']
  assert _line(table, f'params.{up}')[1:] == expected
  assert _line(table, f'optimizer_state.1.mu.{up}')[1:] == expected
  assert _line(table, 'step')[1:] == ['scalar', 'int32', '-', '4']
  sizes = 'data = 2, fsdp = 2, sequence = 1, tensor = 2, expert = 1'
  assert table.startswith(f'8 devices: {sizes}\n')
  leaves = jax.tree.leaves(state)
  whole = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
  lines = table.splitlines()
  assert f'together: {len(leaves)} arrays of {whole:,} bytes' in lines[-1]
  # A title and a blank, a header, the arrays, a blank and three totals.
  assert len(lines) == 3 + len(leaves) + 4


def test_totals_are_what_the_compiler_counts(run_config):
  state = _abstract(run_config, fsdp=4, tensor=2, strategy='zero1')
  found = layout_table(state).splitlines()[-1].split(', ')[-1]
  shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
  blank = jax.jit(
    lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state),
    out_shardings=shardings,
  )
  held = [
    sum(shard.data.nbytes for shard in leaf.addressable_shards[:1])
    for leaf in jax.tree.leaves(blank())
  ]
  assert int(found.split()[0].replace(',', '')) == sum(held)


def test_an_override_shows_in_its_line(run_config):
  overrides = ('embedding.table: none, tensor+fsdp',)
  state = _abstract(run_config, fsdp=4, tensor=2, overrides=overrides)
  table = layout_table(state)
  for path in ('params', 'optimizer_state.1.nu'):
    line = _line(table, f'{path}.embedding.table')
    assert line[3:] == [
      '-, tensor+fsdp',
      f'{320 * 16 * 4 // 8:,}',
    ]

"""Steps are compiled for TPUs that are not there, and their costs are true."""

import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from configs import pretrain
from configs.errors import UserError
from configs.tree import to_dataclass, with_overrides
from model.counts import count_parameters, training_flops_per_row
from train.ahead import compiling, hlo, hlo_costs, hlo_memory, report
from train.ahead import search as searches
from train.ahead import topology as topologies
from train.ahead.job import batch_shape, make_job
from train.compile import compile_step
from train.config import RunConfig

ROOT = pathlib.Path(__file__).parents[2]
TOPOLOGY = 'v5e:2x2'
# Blocks of 128 tokens, so that attention is by a kernel where it may be.
SMALL = {
  'model.vocab_size': 1024,
  'model.num_layers': 3,
  'model.width': 256,
  'model.num_heads': 2,
  'model.num_kv_heads': 2,
  'model.head_width': 128,
  'model.ffn_width': 512,
  'model.compute_dtype': 'bfloat16',
  'model.scan_layers': True,
  'model.attention': 'xla',
  'data.vocab_size': 320,
  'data.batch_size': 16,
  'data.sequence_length': 128,
  'mesh.data': 1,
  'mesh.fsdp': -1,
}


@pytest.fixture(scope='module')
def libtpu():
  """The compiler of TPUs."""
  return pytest.importorskip('libtpu', reason='libtpu, of the extra `tpu`')


@pytest.fixture(scope='module')
def config():
  return with_overrides(pretrain.get_config(), SMALL)


@pytest.fixture(scope='module')
def devices(libtpu):
  return topologies.devices(topologies.parse(TOPOLOGY))


@pytest.fixture(scope='module')
def result(libtpu, config):
  """Of the small step, a loop over its layers."""
  return compile_step(config, TOPOLOGY)


@pytest.fixture(scope='module')
def again(libtpu, config):
  """The same, with full rematerialization."""
  return compile_step(with_overrides(config, {'model.remat': 'full'}), TOPOLOGY)


def test_keys_that_others_read(result):
  assert result['topology'] == TOPOLOGY
  assert result['num_devices'] == 4
  assert {'flops', 'modelled_seconds', 'collectives'} <= set(result)
  assert {
    *('arguments', 'outputs', 'temporaries', 'aliased', 'total'),
    *('parameters', 'optimizer', 'batch', 'activations'),
  } <= set(result['hbm_bytes'])
  assert result['versions']['libtpu']
  assert json.loads(json.dumps(result)) == result


def test_memory_is_split_as_the_state_is(result, config):
  sizes = result['hbm_bytes']
  counts = count_parameters(to_dataclass(RunConfig, config).model)
  # A quarter of all, but for vectors, of which each device has the whole.
  assert sizes['parameters'] == pytest.approx(counts.total, rel=0.01)
  assert sizes['optimizer'] == pytest.approx(2 * sizes['parameters'], abs=16)
  assert sizes['batch'] == 4 * 128 * 5 * 4
  split = sizes['parameters'] + sizes['optimizer'] + sizes['batch']
  assert split <= sizes['arguments'] < 1.05 * split
  # Donated: what is new of it are the metrics.
  assert 0 <= sizes['outputs'] - sizes['aliased'] < 8192
  assert sizes['total'] == (
    sizes['arguments']
    + sizes['outputs']
    - sizes['aliased']
    + sizes['temporaries']
  )


def test_flops_are_those_of_the_model_loops_multiplied_out(result, config):
  model = to_dataclass(RunConfig, config).model
  own = 4 * training_flops_per_row(model, 128)
  assert result['model_flops'] == own
  # Of the first layer's input nothing is learnt: no product is saved by it, as
  # it comes from the embedding, whose gradient takes none.
  assert result['flops'] == pytest.approx(own, rel=0.01)


def test_a_loop_counts_as_its_unrolled_self_does(result, config, devices):
  """XLA counts a body once; unrolled, it must count what we do."""
  unrolled = with_overrides(config, {'model.scan_layers': False})
  job = make_job(unrolled, devices)
  step = job.lower().train_step.compile()
  module = hlo.parse(step.as_text())
  flops = sum(dot.flops * dot.runs for dot in hlo_costs.dots(module))
  assert flops == pytest.approx(result['flops'], rel=0.01)
  # XLA counts sums and roots, too, of which a small model has many.
  assert flops < step.cost_analysis()['flops'] < 1.15 * flops


def test_full_rematerialization_computes_layers_again(result, again, config):
  model = to_dataclass(RunConfig, config).model
  head = 4 * 128 * 6 * model.vocab_size * model.width
  layers = result['flops'] - head
  # What gives the layer's own result, the product down, need not be.
  down = 3 * 4 * 128 * 2 * model.ffn_width * model.width
  assert again['flops'] == pytest.approx(
    result['flops'] + layers / 3 - down, rel=1e-6
  )


def test_exchanges_are_those_of_fully_sharded_data_parallelism(result):
  """Kernels are gathered twice, in bfloat16; gradients are float32."""
  kernels = 3 * (4 * 256 * 256 + 3 * 256 * 512)
  head = 1024 * 256
  # Rows of the embedding go to whose tokens they are of, by all indices.
  indices = 16 * 128 * 4
  found = {kind: one['bytes'] for kind, one in result['collectives'].items()}
  assert found['all-gather'] == 2 * (2 * kernels + head) + 2 * indices
  assert found['reduce-scatter'] == 4 * (kernels + head)
  assert result['collectives']['reduce-scatter']['count'] == 3 + 1


def test_a_step_takes_at_least_what_its_slowest_resource_does(result):
  bounds = result['roofline_seconds']
  assert set(bounds) == {'compute', 'hbm', 'ici', 'dcn'}
  assert 0 < result['modelled_seconds'] <= result['step_seconds']
  assert max(bounds.values()) <= result['step_seconds']
  assert 0 < result['mfu'] <= result['mfu_bound'] <= 1


def test_what_is_live_is_what_xla_allocates(devices):
  """Of chained products two arrays are held at once, of a scan all it keeps."""
  mesh = Mesh(np.array(devices), ('x',), axis_types=(AxisType.Auto,))
  whole = NamedSharding(mesh, PartitionSpec())

  def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=whole)

  def chain(x, w):
    for _ in range(6):
      x = jnp.tanh(x @ w)
    return x.sum()

  def gradient(w, x):
    def loss(w):
      def body(x, w):
        return jnp.tanh(x @ w), None

      return jax.lax.scan(jax.checkpoint(body), x, w)[0].sum()

    return jax.grad(loss)(w)

  step = jax.jit(chain).lower(array(16384, 4096), array(4096, 4096)).compile()
  held = hlo_memory.held(hlo.parse(step.as_text()))
  # Matrix units take bfloat16.
  assert held.peak == 2 * 16384 * 4096 * 2
  own = step.memory_analysis()
  assert held.peak == pytest.approx(own.temp_size_in_bytes, rel=0.001)
  assert held.activations == 0
  step = (
    jax.jit(gradient, donate_argnums=0)
    .lower(array(5, 4096, 4096), array(16384, 4096))
    .compile()
  )
  held = hlo_memory.held(hlo.parse(step.as_text()))
  # What goes into each of the five, and nothing else of the forward pass.
  assert held.activations == pytest.approx(5 * 16384 * 4096 * 2, rel=0.01)
  own = step.memory_analysis()
  peak = own.peak_memory_in_bytes - own.argument_size_in_bytes
  assert held.peak == pytest.approx(peak, rel=0.001)


def test_a_step_that_is_too_large_is_one_line(libtpu, tmp_path):
  """13 billion parameters and their moments on four chips of 16 GB."""
  ended = subprocess.run(
    [
      *(sys.executable, '-m', 'train.compile'),
      '--config=configs/pretrain.py:gpt3-13b',
      *(f'--topology={TOPOLOGY}', f'--out={tmp_path}/out.json'),
      *('--config.mesh.data=1', '--config.mesh.fsdp=4'),
      '--config.model.scan_layers=True',
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert ended.returncode == 2, ended.stderr[-2000:]
  result = json.loads((tmp_path / 'out.json').read_text())
  assert result['fits'] is False
  sizes, there = result['hbm_bytes'], result['capacity_bytes']
  state = 12 * 12_853_386_240 / 4
  assert state == pytest.approx(
    sizes['parameters'] + sizes['optimizer'], rel=0.001
  )
  assert there == pytest.approx(15.75 * 2**30, rel=1e-6)
  assert sizes['total'] > state > there
  needed, has, excess = (
    f'{size / 1e9:.1f} GB'
    for size in (sizes['total'], there, sizes['total'] - there)
  )
  assert ended.stderr.splitlines()[-1] == (
    f'error: needs {needed} of {has} a device, {excess} too much; nothing that '
    'was tried fits: take more chips'
  )


def test_the_nearest_setting_that_fits_is_found_by_trying(
  devices, config, monkeypatch
):
  tried = []

  def too_large_with_all_kept(job):
    tried.append((job.config.model.remat, job.config.train.loss_chunks))
    if tried[-1] != ('full', 8):
      raise compiling.TooLargeError(20, 10)
    return 9

  monkeypatch.setattr(searches, 'compiled_bytes', too_large_with_all_kept)
  found = searches.nearest_that_fits(config, devices, 1e12)
  assert found == {
    'overrides': {'model.remat': 'full', 'train.loss_chunks': 8},
    'total': 9,
  }
  assert tried == [
    *(('dots', 1), ('full', 1), ('offload', 1), ('none', 8)),
    *(('dots', 8), ('full', 8)),
  ]
  tried.clear()
  nothing = searches.nearest_that_fits(config, devices, 1e3)
  # Not even the state is as small: nothing has to be compiled to see it.
  assert (nothing['overrides'], tried) == ({}, [])


def told_of(seconds):
  """What `describe` tells of a step; None for one that does not fit."""
  return {
    'fits': seconds is not None,
    'hbm_bytes': {'total': 1e9},
    'step_seconds': seconds,
    'mfu': None if seconds is None else 0.5,
  }


def test_a_search_ranks_what_fits(config, devices, monkeypatch):
  seconds = iter((3.0, 2.0, 1.0))

  def told(job, grid):
    fits = job.config.model.remat != 'none'
    return told_of(next(seconds) if fits else None)

  monkeypatch.setattr(searches, 'describe', told)
  grid = topologies.parse(TOPOLOGY)
  own = searches.ranked({}, told_of(2.5))
  found = searches.search(config, devices, grid, 4, own)
  # Three factors make up 4 in six ways; three policies; 1 to 16 micro-batches.
  assert found['candidates'] == 6 * 3 * 5
  # 16 rows in 4 parts are at most 4 micro-batches; two heads are 2 parts.
  assert found['impossible'] > 0
  assert len(found['compiled']) == 4 + 1
  assert own in found['compiled']
  ranked = [entry['step_seconds'] for entry in found['compiled']]
  fitting = [seconds for seconds in ranked if seconds is not None]
  assert fitting == sorted(fitting)
  assert ranked == fitting + [None] * (5 - len(fitting))


def test_no_setting_is_compiled_that_another_makes_pointless(
  config, devices, monkeypatch
):
  monkeypatch.setattr(searches, 'describe', lambda job, grid: told_of(1.0))
  grid = topologies.parse(TOPOLOGY)
  own = searches.ranked({}, told_of(None))
  found = searches.search(config, devices, grid, 100, own)
  compiled = [one['overrides'] for one in found['compiled'] if one['fits']]
  assert {one['train.accumulate_steps'] for one in compiled} == {1}
  assert {one['model.remat'] for one in compiled} == {'none'}
  meshes = {(one['mesh.fsdp'], one['mesh.tensor']) for one in compiled}
  # All six but for tensor = 4, which two heads do not divide over.
  assert len(compiled) == len(meshes) == 5


def test_arithmetic_is_below_what_a_step_holds(result, again, config, devices):
  for remat, found in (('none', result), ('full', again)):
    job = make_job(with_overrides(config, {'model.remat': remat}), devices)
    total = found['hbm_bytes']['total']
    assert 0.2 * total < job.least_bytes() <= total


def test_the_smallest_change_comes_first():
  base = pretrain.get_config()
  found = list(searches.changes(base))
  assert found[0] == {'model.remat': 'dots'}
  assert found[1] == {'model.remat': 'full'}
  assert {'train.loss_chunks': 8} in found
  most = {'model.remat': 'offload', 'train.loss_chunks': 8}
  assert most | {'train.accumulate_steps': 2} in found
  assert most | {'mesh.data': 1, 'mesh.fsdp': -1} in found
  told = with_overrides(
    base,
    {'model.remat': 'offload', 'train.loss_chunks': 2, 'mesh.data': 1},
  )
  assert next(searches.changes(told)) == {'train.accumulate_steps': 2}


@pytest.mark.parametrize(
  ('message', 'needed', 'there'),
  [
    (
      'RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required '
      'for HLO temporaries (120.76G) exceeds available HBM (95.74G).',
      120.76,
      95.74,
    ),
    (
      'XLA:TPU compile permanent error. Ran out of memory in memory space hbm. '
      'Used 20.05G of 15.48G hbm. Exceeded hbm capacity by 4.57G.',
      20.05,
      15.48,
    ),
  ],
)
def test_what_xla_says_of_too_large_programs(message, needed, there):
  found = compiling.told_sizes(message)
  assert found == (round(needed * 2**30), round(there * 2**30))
  assert compiling.told_sizes('INTERNAL: something else') is None


def test_the_verdict_names_the_excess():
  result = {
    'fits': False,
    'capacity_bytes': 95.7e9,
    'hbm_bytes': {'total': 120.5e9},
  }
  line = 'needs 120.5 GB of 95.7 GB a device, 24.8 GB too much'
  assert report.verdict(result) == line
  nothing = result | {'suggestion': {'overrides': {}, 'total': None}}
  assert report.verdict(nothing).startswith(f'{line}; nothing')
  some = {'overrides': {'model.remat': 'full'}, 'total': 80e9}
  assert report.verdict(result | {'suggestion': some}) == (
    f'{line}; with --config.model.remat=full it needs 80.0 GB and fits'
  )


def test_libtpu_that_is_missing_is_told(monkeypatch, config):
  monkeypatch.setitem(sys.modules, 'libtpu', None)
  with pytest.raises(UserError, match=r'extra tpu: run `pip install -e .\[tpu'):
    compile_step(config, TOPOLOGY)


def test_a_grid_that_libtpu_cannot_make_is_told(libtpu):
  odd = topologies.Topology('v5e:3x5', 'v5e', (3, 5), 1)
  with pytest.raises(UserError, match=r"topology = 'v5e:3x5': libtpu cannot"):
    topologies.devices(odd)


def test_a_mesh_that_does_not_make_up_the_devices_is_told(libtpu, config):
  with pytest.raises(UserError, match='devices'):
    compile_step(
      with_overrides(config, {'mesh.data': 3, 'mesh.fsdp': 1}), TOPOLOGY
    )


@pytest.mark.parametrize(
  ('size', 'length', 'source_length'),
  # 512 and 114 are T5's own (Raffel et al. 2020, section 3.1.4).
  [('gpt2', 1024, 0), ('bert-base', 512, 0), ('t5-base', 114, 512)],
)
def test_the_shape_of_a_batch_takes_no_tokenizer(size, length, source_length):
  config = to_dataclass(RunConfig, pretrain.get_config(size))
  shape = batch_shape(config)
  assert (shape.length, shape.source_length) == (length, source_length)


def test_what_slices_and_grids_make_up_is_part_of_a_step(libtpu, config):
  """Eight chips in three ways, to each of which exchanges are laid out."""
  eight = with_overrides(config, {'mesh.data': 8, 'mesh.fsdp': 1})
  places = set()
  for name, slices in (('v5e:2x2', 2), ('v5e:2x4', 1), ('v5e:4x2', 1)):
    grid = topologies.parse(name, slices)
    over = with_overrides(eight, {'mesh.dcn_data': slices})
    job = make_job(over, topologies.devices(grid))
    places.add(job.description()['devices']['places'])
  assert len(places) == 3


def test_what_does_not_divide_has_a_bound_too(config, devices):
  """The stream of an odd length, which stays whole along `tensor`."""
  odd = with_overrides(
    config,
    {
      'mesh.strategy': 'megatron_sp',
      'mesh.data': 2,
      'mesh.fsdp': 1,
      'mesh.tensor': 2,
      'data.sequence_length': 127,
    },
  )
  assert make_job(odd, devices).least_bytes() > 0

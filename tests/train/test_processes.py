"""Whole runs in several processes, and what can go wrong in one of them."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs.tree import with_overrides
from tests.train.launching import ROOT, Group, steps_of
from train import checkpoint, loop, metrics, workdir
from train.processes import wire
from train.storage.places import CHECKPOINTS
from train.storage.stored import open_params

DIED = 'error: process {} of 2 (host '
FEW = {
  'train.num_steps': 6,
  'train.eval_every_steps': 0,
  'schedule.warmup_steps': 2,
  'schedule.decay_steps': 2,
  'checkpoint.every_steps': 3,
}
ENDLESS = {'train.num_steps': 100_000, 'checkpoint.every_steps': 1000}


@pytest.fixture(scope='session')
def spread(tiny_config):
  """The tiny config, of which all devices make up the mesh."""
  return with_overrides(tiny_config, {'mesh.data': -1})


def _assert_close(one, other):
  """Equal losses, within 1e-5 relative, of the same steps."""
  logs = [metrics.read_metrics(f / metrics.METRICS) for f in (one, other)]
  assert [line['step'] for line in logs[0]] == [x['step'] for x in logs[1]]
  for expected, found in zip(*logs, strict=True):
    assert found == pytest.approx(expected, rel=1e-5)
  ends = [workdir.read_done(folder) for folder in (one, other)]
  for end in ends:
    end.pop('seconds')
  assert ends[1]['step'] == ends[0]['step']
  assert ends[1]['metrics'] == pytest.approx(ends[0]['metrics'], rel=1e-5)


def _end(folder):
  """Parameters, checksums of all arrays, and data state of the newest one."""
  path = checkpoint.find(folder)
  meta, manifest = checkpoint.read_meta(path)
  params = {name: one[()] for name, one in open_params(path).items()}
  return params, manifest.arrays, meta.data_state


def _assert_same(one, other):
  """The same bytes of metrics, the same parameters, moments and data state."""
  logs = [(f / metrics.METRICS).read_bytes() for f in (one, other)]
  assert logs[0] == logs[1]
  (params, *state), (other_params, *other_state) = map(_end, (one, other))
  jax.tree.map(np.testing.assert_array_equal, params, other_params)
  assert state == other_state


def _finish(config, folder, count=2, devices=1, **kwargs):
  with Group(config, folder, count, devices, **kwargs) as group:
    codes = group.finish()
    assert codes == [0] * count, [group.output(i)[-3000:] for i in range(count)]
    return [group.output(index) for index in range(count)]


def test_two_processes_of_two_devices_equal_one_of_four(spread, tmp_path):
  config = with_overrides(spread, FEW | {'mesh.fsdp': 2})
  outputs = _finish(config, tmp_path / 'two', 2, devices=2)
  loop.run(
    config,
    tmp_path / 'one',
    devices=jax.devices()[:4],
    show_progress=False,
  )
  _assert_close(tmp_path / 'one', tmp_path / 'two')
  # One of them writes and talks.
  lines = metrics.read_metrics(tmp_path / 'two' / metrics.TIMING)
  assert [line['step'] for line in lines] == list(range(7))
  assert '6 steps, validation loss' in outputs[0]
  assert 'step/s' in outputs[0]
  assert 'step/s' not in outputs[1]
  assert 'validation loss' not in outputs[1]


def test_who_is_killed_is_named_by_who_is_left(spread, tmp_path):
  folder = tmp_path / 'run'
  with Group(with_overrides(spread, ENDLESS), folder, 2) as group:
    group.wait_for_step(3)
    group.started[1].kill()
    codes = group.finish(60)
    output = group.output(0)
  assert codes == [3, -signal.SIGKILL]
  _assert_one_line(output, DIED.format(1))
  assert workdir.read_done(folder) is None


def _assert_one_line(output, told):
  """The last of what was said, and the only such line; no trace of a stack."""
  last = output.replace('\r', '\n').splitlines()[-1]
  assert told in last
  assert output.count('error: ') == 1
  assert 'Traceback' not in output
  assert 'Terminating process' not in output


@pytest.fixture(scope='module')
def undisturbed(spread, tmp_path_factory):
  """A run of 40 steps in two processes."""
  folder = tmp_path_factory.mktemp('undisturbed') / 'run'
  _finish(spread, folder)
  return folder


@pytest.mark.long
@pytest.mark.parametrize('count', [2, 4])
@pytest.mark.parametrize(
  'mesh',
  [
    {'mesh.data': -1},
    {'mesh.data': 1, 'mesh.fsdp': -1},
    {'mesh.tensor': 4},
    {'mesh.tensor': 2, 'mesh.fsdp': 2},
    {'mesh.sequence': 4},
  ],
  ids=lambda mesh: ' '.join(mesh),
)
def test_any_number_of_processes_is_as_one(spread, tmp_path, mesh, count):
  config = with_overrides(spread, FEW | mesh)
  _finish(config, tmp_path / 'one', 1, devices=4)
  _finish(config, tmp_path / 'many', count, devices=4 // count)
  _assert_close(tmp_path / 'one', tmp_path / 'many')


@pytest.mark.long
@pytest.mark.parametrize('killed', [0, 1])
def test_what_was_killed_goes_on_to_the_same_end(
  spread, undisturbed, tmp_path, killed
):
  folder = tmp_path / 'run'
  with Group(spread, folder, 2) as group:
    group.wait_for_step(17)
    group.started[killed].kill()
    codes = group.finish(60)
    output = group.output(1 - killed)
  assert codes[killed] == -signal.SIGKILL
  assert codes[1 - killed] == 3
  _assert_one_line(output, DIED.format(killed))
  _finish(spread, folder)
  _assert_same(undisturbed, folder)


@pytest.mark.long
@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize('asked', [0, 1])
def test_all_stop_at_the_step_at_which_one_is_asked_to(
  spread, undisturbed, tmp_path, asked, how
):
  folder = tmp_path / 'run'
  with Group(spread, folder, 2) as group:
    group.wait_for_step(13)
    group.started[asked].send_signal(how)
    codes = group.finish()
    output = group.output(0)
  assert codes == [0, 0], output[-3000:]
  stopped = steps_of(folder)
  assert 13 <= stopped < 40
  assert f'stopped at step {stopped} of 40' in output
  assert checkpoint.find(folder).name == str(stopped)
  _finish(spread, folder)
  _assert_same(undisturbed, folder)


@pytest.mark.long
@pytest.mark.parametrize('killed', [0, 1])
def test_killed_during_a_save(spread, undisturbed, tmp_path, killed):
  for attempt in range(5):
    folder = tmp_path / f'run-{attempt}'
    begun = folder / CHECKPOINTS

    def saving(begun=begun):
      return any(begun.glob('20.*tmp*'))

    with Group(spread, folder, 2) as group:
      group.wait_until(saving)
      group.started[killed].kill()
      codes = group.finish(60)
    assert codes[1 - killed] == 3
    if saving():
      break
  else:
    pytest.fail('never killed in the middle of a save')
  assert checkpoint.find(folder).name == '10'
  _finish(spread, folder)
  _assert_same(undisturbed, folder)


@pytest.fixture
def small_disk(tmp_path):
  """A disk on which one checkpoint has room, and not two."""
  folder = tmp_path / 'disk'
  folder.mkdir()
  options = ['-t', 'tmpfs', '-o', 'size=500k', 'tmpfs', str(folder)]
  done = subprocess.run(['mount', *options], capture_output=True, text=True)
  if done.returncode:
    pytest.skip(f'a disk of this size cannot be mounted: {done.stderr}')
  yield folder
  subprocess.run(['umount', str(folder)], check=True)


@pytest.mark.long
def test_a_full_disk_ends_all(spread, undisturbed, tmp_path, small_disk):
  folder = small_disk / 'run'
  with Group(spread, folder, 2, logs=tmp_path) as group:
    codes = group.finish()
    outputs = [group.output(index) for index in (0, 1)]
  assert codes == [2, 2]
  lines = [output.splitlines()[-1] for output in outputs]
  assert lines[0] == lines[1]
  assert 'a checkpoint could not be written' in lines[0]
  assert 'No space left' in lines[0]
  # What was whole before is whole still; with room it goes on.
  moved = tmp_path / 'run'
  shutil.copytree(folder, moved)
  assert checkpoint.find(moved).name == '10'
  _finish(spread, moved)
  _assert_same(undisturbed, moved)


@pytest.mark.long
def test_a_last_save_on_a_full_disk_ends_all(spread, tmp_path, small_disk):
  config = with_overrides(spread, {'checkpoint.every_steps': 1000})
  folder = small_disk / 'run'
  with Group(config, folder, 2, logs=tmp_path) as group:
    group.wait_for_step(5)
    with contextlib.suppress(OSError), (small_disk / 'rest').open('wb') as rest:
      while True:
        rest.write(bytes(4096))
        rest.flush()
    group.started[0].send_signal(signal.SIGTERM)
    assert group.finish() == [2, 2]
    outputs = [group.output(index) for index in (0, 1)]
  # Of a log's line, or of the checkpoint.
  for output in outputs:
    told = output.splitlines()[-1]
    assert 'the disk is full' in told or 'No space left' in told


@pytest.mark.long
def test_from_two_processes_to_one_to_four(spread, undisturbed, tmp_path):
  folder = tmp_path / 'run'
  for count, until in ((2, 8), (1, 22)):
    with Group(spread, folder, count, devices=4 // count) as group:
      group.wait_for_step(until)
      group.started[-1].send_signal(signal.SIGTERM)
      assert group.finish() == [0] * count
    assert workdir.read_done(folder) is None
  _finish(spread, folder, 4)
  _assert_close(undisturbed, folder)


@pytest.mark.long
def test_machines_may_have_a_cache_each(spread, undisturbed, tmp_path):
  own = [[f'--config.data.cache_dir={tmp_path}/{index}'] for index in (0, 1)]
  _finish(spread, tmp_path / 'run', own=own)
  _assert_same(undisturbed, tmp_path / 'run')
  assert all(any((tmp_path / index).rglob('*.array_record')) for index in '01')


@pytest.mark.long
def test_two_processes_prepare_one_cache(spread, undisturbed, tmp_path):
  config = with_overrides(spread, {'data.cache_dir': str(tmp_path / 'cache')})
  _finish(config, tmp_path / 'run')
  _assert_same(undisturbed, tmp_path / 'run')


@pytest.mark.long
@pytest.mark.parametrize(
  ('flags', 'told'),
  [
    (
      [[], ['--config.train.seed=1']],
      r'process 1 of 2 was started otherwise: ',
    ),
    ([['--config.mesh.tensor=3']] * 2, 'mesh (data'),
    ([['--config.optimizer.b2=0.9']] * 2, 'holds a run of another config'),
  ],
)
def test_a_mistake_is_told_by_all_in_one_line(
  spread, undisturbed, tmp_path, flags, told
):
  folder = tmp_path / 'run'
  if 'holds' in told:
    shutil.copytree(undisturbed, folder)
  with Group(spread, folder, 2, own=flags) as group:
    assert group.finish(90) == [2, 2]
    for index in (0, 1):
      _assert_one_line(group.output(index), told)


@pytest.mark.long
def test_a_workdir_that_is_at_work_is_refused_by_all(spread, tmp_path):
  tree = workdir.as_json(spread.to_dict())
  with (
    workdir.claimed(tmp_path / 'run', tree),
    Group(spread, tmp_path / 'run', 2) as group,
  ):
    assert group.finish(90) == [2, 2]
    for index in (0, 1):
      _assert_one_line(group.output(index), 'another process is at work there')


# Rows of a batch on a mesh whose devices are not in the processes' order.
ROWS = """
import json, sys
import jax, numpy as np
from jax.sharding import Mesh
from train.mesh import sharding
from train.processes import distributed
from train.mesh.config import MeshConfig
order, axes = json.loads(sys.argv[2])
with distributed.joined(sys.argv[1]) as peers:
  devices = [jax.devices()[number] for number in order]
  mesh = sharding.make_mesh(MeshConfig(**axes), devices)
  rows = sharding.local_rows(mesh, 8)
  everything = np.arange(8 * 6, dtype=np.int32).reshape(8, 6)
  batch = sharding.put_batch({'tokens': everything[rows]}, mesh, 8)['tokens']
  for shard in batch.addressable_shards:
    np.testing.assert_array_equal(shard.data, everything[shard.index])
  total = jax.jit(lambda x: (x * x).sum())(batch)
  print(json.dumps([rows.start, rows.stop, int(total)]))
"""


@pytest.mark.long
@pytest.mark.parametrize(
  ('order', 'axes', 'rows'),
  [
    ([0, 1, 2, 3], {'data': 4}, [[0, 4], [4, 8]]),
    # Every second row: what lies between is read, and not used.
    ([0, 2, 1, 3], {'data': 4}, [[0, 6], [2, 8]]),
    ([3, 2, 1, 0], {'data': 4}, [[4, 8], [0, 4]]),
    # The tensor axis goes across processes: both have all rows.
    ([0, 2, 1, 3], {'data': 2, 'tensor': 2}, [[0, 8], [0, 8]]),
    ([0, 1, 2, 3], {'data': 2, 'tensor': 2}, [[0, 4], [4, 8]]),
    ([0, 2, 1, 3], {'data': 2, 'sequence': 2}, [[0, 8], [0, 8]]),
  ],
)
def test_a_process_has_the_rows_of_its_devices(order, axes, rows):
  axes = {'data': 1, 'fsdp': 1, 'tensor': 1} | axes
  address = f'127.0.0.1:{wire.free_port()},2'
  environment = {
    **os.environ,
    'PYTHONPATH': str(ROOT),
    'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': '2',
  }
  started = [
    subprocess.Popen(
      [
        sys.executable,
        '-c',
        ROWS,
        f'{address},{index}',
        json.dumps([order, axes]),
      ],
      env=environment,
      stdout=subprocess.PIPE,
      text=True,
    )
    for index in (0, 1)
  ]
  total = sum(number * number for number in range(48))
  for process, own in zip(started, rows, strict=True):
    output, _ = process.communicate(timeout=120)
    # Gloo writes to the same stream, whenever it likes.
    found = re.search(r'\[\d+, \d+, \d+\]', output)
    assert found, output
    assert json.loads(found[0]) == [*own, total]

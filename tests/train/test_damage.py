"""Damaged checkpoints: a run goes on from the one before, to the same end."""

import dataclasses
import errno
import logging
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.errors import UserError
from configs.tree import flatten, to_dataclass, with_overrides
from model import huggingface as hf
from tests.train import launching
from train import (
  checkpoint,
  convert,
  job,
  loop,
  metrics,
  run_checkpoints,
  workdir,
)
from train.config import RunConfig
from train.run_checkpoints import RunCheckpoints
from train.storage import stored
from train.storage.integrity import CorruptError
from train.storage.places import CHECKPOINTS, steps_in

# Orbax leaves reads behind that ended when another failed.
pytestmark = pytest.mark.filterwarnings(
  'ignore::pytest.PytestUnraisableExceptionWarning'
)
ROOT = pathlib.Path(__file__).parents[2]


def _run(config, folder, **kwargs):
  return loop.run(
    config, folder, devices=jax.devices()[:1], show_progress=False, **kwargs
  )


class Undisturbed:
  """A run of 40 steps, whose checkpoints are of steps 30 and 40."""

  def __init__(self, config, folder):
    self.config = config
    self.folder = folder
    self.root = folder / CHECKPOINTS
    programs = []
    real = job.programs.build
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(
        job.programs,
        'build',
        lambda *given: programs.append(real(*given)) or programs[-1],
      )
      _run(config, folder)
    self.abstract = programs[0].abstract_state
    self.states = {
      step: checkpoint.load_state(self.root / str(step), self.abstract)
      for step in (30, 40)
    }

  def restored(self, folder):
    """What a run in another folder would go on from: state, meta, latest."""
    keep = to_dataclass(RunConfig, self.config).checkpoint
    with RunCheckpoints(folder, keep) as checkpoints:
      found = checkpoints.restore(self.abstract)
      return *found, checkpoints.latest_step


@pytest.fixture(scope='module')
def undisturbed(tiny_config, tmp_path_factory):
  return Undisturbed(tiny_config, tmp_path_factory.mktemp('run') / 'run')


def _damage(path, how):
  content = bytearray(path.read_bytes())
  if how == 'flipped':
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
  elif how == 'cut':
    path.write_bytes(content[: len(content) // 2])
  else:
    path.unlink()


def _told(caplog):
  return [
    record.getMessage()
    for record in caplog.records
    if record.name == run_checkpoints.__name__
    and record.levelno == logging.WARNING
  ]


def _files(undisturbed):
  newest = undisturbed.root / '40'
  return sorted(
    path.relative_to(newest) for path in newest.rglob('*') if path.is_file()
  )


@pytest.mark.parametrize('how', ['flipped', 'cut', 'gone'])
def test_damage_to_any_file_is_found_or_changes_nothing(
  undisturbed, tmp_path, caplog, how
):
  outcomes = {}
  for number, path in enumerate(_files(undisturbed)):
    copy = tmp_path / str(number)
    shutil.copytree(undisturbed.root, copy / CHECKPOINTS)
    _damage(copy / CHECKPOINTS / '40' / path, how)
    caplog.clear()
    state, meta, latest = undisturbed.restored(copy)
    # Bit for bit, and so is all that follows.
    jax.tree.map(
      np.testing.assert_array_equal, state, undisturbed.states[meta.step]
    )
    assert latest == meta.step
    names = {p.name for p in (copy / CHECKPOINTS).iterdir()}
    if meta.step == 30:
      assert names == {'30', '40.corrupt'}
      (told,) = _told(caplog)
      assert told.startswith(f'{copy / CHECKPOINTS / "40"}')
      assert 'going on from step 30, and set it aside as 40.corrupt' in told
    else:
      assert names == {'30', '40'}
      assert not _told(caplog)
    outcomes[str(path)] = meta.step
  # What holds arrays, or is needed to find them.
  for item in ('params', 'optimizer', 'meta'):
    data = [p for p in outcomes if p.startswith(f'{item}/ocdbt.process_0/d/')]
    assert min(outcomes[path] for path in data) == 30
    index = [p for p in outcomes if p.startswith(f'{item}/d/')]
    for path in (f'{item}/_METADATA', f'{item}/manifest.ocdbt', *index):
      assert outcomes[path] == 30, path


# By what it holds: arrays, what tells of them, where they are.
_KINDS = {
  'params': 'params/ocdbt.process_0/d/*',
  'optimizer': 'optimizer/ocdbt.process_0/d/*',
  'meta': 'meta/ocdbt.process_0/d/*',
  'json': 'params/_METADATA',
  'database': 'optimizer/manifest.ocdbt',
}


@pytest.mark.parametrize('kind', _KINDS)
def test_a_run_ends_as_one_that_was_not_disturbed(
  undisturbed, tmp_path, caplog, kind
):
  folder = tmp_path / 'run'
  shutil.copytree(undisturbed.folder, folder)
  (folder / workdir.DONE).unlink()
  newest = folder / CHECKPOINTS / '40'
  paths = sorted(newest.glob(_KINDS[kind]), key=lambda p: p.stat().st_size)
  _damage(paths[-1], 'flipped')
  assert _run(undisturbed.config, folder).finished
  assert len(_told(caplog)) == 1
  assert (newest.parent / '40.corrupt').is_dir()
  _assert_same_end(undisturbed, folder)


def _assert_same_end(undisturbed, folder):
  logs = [
    (path / metrics.METRICS).read_bytes()
    for path in (undisturbed.folder, folder)
  ]
  assert logs[0] == logs[1]
  newest = checkpoint.find(folder)
  assert newest.name == '40'
  state = checkpoint.load_state(newest, undisturbed.abstract)
  jax.tree.map(np.testing.assert_array_equal, state, undisturbed.states[40])
  there, here = (
    checkpoint.load_meta(path) for path in (undisturbed.root / '40', newest)
  )
  assert there.data_state == here.data_state


def _copied(undisturbed, folder):
  """Copies checkpoints into a folder; theirs, and what is to be kept."""
  root = folder / CHECKPOINTS
  shutil.copytree(undisturbed.root, root)
  return root, to_dataclass(RunConfig, undisturbed.config).checkpoint


def test_where_none_is_good_all_stay_as_they_are(undisturbed, tmp_path):
  root, _ = _copied(undisturbed, tmp_path)
  for step in (30, 40):
    _damage(root / str(step) / 'params' / '_METADATA', 'cut')
  with pytest.raises(UserError, match=r'is good: .*40/params.*; .*30/params'):
    undisturbed.restored(tmp_path)
  assert sorted(path.name for path in root.iterdir()) == ['30', '40']


@pytest.mark.parametrize(
  'error',
  [
    PermissionError(errno.EACCES, 'Permission denied'),
    OSError(errno.EIO, 'Input/output error'),
    ValueError('UNAVAILABLE: the bucket does not answer'),
  ],
)
def test_a_read_that_may_do_better_later_is_no_damage(
  undisturbed, tmp_path, monkeypatch, error
):
  root, keep = _copied(undisturbed, tmp_path)

  def fail(*_):
    raise error

  with RunCheckpoints(tmp_path, keep) as checkpoints:
    monkeypatch.setattr(checkpoint.ocp, 'load_checkpointables', fail)
    told = rf'40/meta cannot be read \(.*{str(error)[-9:]}.*\); nothing was'
    with pytest.raises(UserError, match=told):
      checkpoints.restore(undisturbed.abstract)
  assert sorted(path.name for path in root.iterdir()) == ['30', '40']


def test_another_config_is_no_damage(undisturbed, tmp_path):
  root, keep = _copied(undisturbed, tmp_path)
  wider = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((*x.shape, 2), x.dtype), undisturbed.abstract
  )

  def refuse(folder, meta):
    raise UserError(f'{folder.name} is of step {meta.step}')

  with RunCheckpoints(tmp_path, keep) as checkpoints:
    with pytest.raises(UserError, match='of another model'):
      checkpoints.restore(wider)
    with pytest.raises(UserError, match='40 is of step 40'):
      checkpoints.restore(undisturbed.abstract, refuse)
  assert sorted(path.name for path in root.iterdir()) == ['30', '40']


def test_going_back_forgets_what_came_after(undisturbed, tmp_path):
  root, keep = _copied(undisturbed, tmp_path)
  with RunCheckpoints(tmp_path, keep) as checkpoints:
    state, meta = checkpoints.restore(undisturbed.abstract, up_to=39)
    assert (meta.step, checkpoints.latest_step) == (30, 30)
    assert [path.name for path in root.iterdir()] == ['30']
    jax.tree.map(np.testing.assert_array_equal, state, undisturbed.states[30])
    # Another state of a step that was there before.
    checkpoints.save(undisturbed.states[40], _of_step(meta, 40))
    # None is as early: then the earliest there is.
    _, meta = checkpoints.restore(undisturbed.abstract, up_to=29)
    assert (meta.step, checkpoints.latest_step) == (30, 30)


def test_going_back_takes_what_an_undisturbed_run_would(undisturbed, tmp_path):
  root, keep = _copied(undisturbed, tmp_path)
  with RunCheckpoints(tmp_path, keep) as checkpoints:
    _, meta = checkpoints.restore(undisturbed.abstract, up_to=30)
    for step in (35, 40, 44):  # it was asked to stop at 35, and at 44
      state = undisturbed.states[30].replace(step=jnp.int32(step))
      checkpoints.save(state, _of_step(meta, step))
    checkpoints.wait()
    assert steps_in(root) == [30, 40, 44]
    _, meta = checkpoints.restore(undisturbed.abstract, up_to=39)
    assert meta.step == 30


def test_going_back_deletes_nothing_before_it_has_read(undisturbed, tmp_path):
  root, keep = _copied(undisturbed, tmp_path)
  shutil.rmtree(root / '30' / 'meta')
  with (
    RunCheckpoints(tmp_path, keep) as checkpoints,
    pytest.raises(UserError, match='is good'),
  ):
    checkpoints.restore(undisturbed.abstract, up_to=39)
  assert (root / '40').is_dir()


def _of_step(meta, step):
  return dataclasses.replace(meta, step=step)


def test_a_second_one_set_aside_has_another_name(undisturbed, tmp_path):
  root, _ = _copied(undisturbed, tmp_path)
  (root / '40.corrupt').mkdir()
  _damage(root / '40' / 'params' / '_METADATA', 'cut')
  undisturbed.restored(tmp_path)
  names = sorted(path.name for path in root.iterdir())
  assert names == ['30', '40.corrupt', '40.corrupt-2']


def test_what_is_read_layer_by_layer_is_verified(undisturbed, tmp_path):
  newest = tmp_path / '40'
  shutil.copytree(undisturbed.root / '40', newest)
  data = newest.glob('params/ocdbt.process_0/d/*')
  _damage(max(data, key=lambda p: p.stat().st_size), 'flipped')
  found = []
  for path, one in stored.open_params(newest).items():
    layers = range(one.shape[0]) if 'layers' in path else ()
    try:
      for at in [(layer,) for layer in layers] or [()]:
        one[at]
    except CorruptError as error:
      found.append(str(error))
  (told,) = found  # a single array has the byte
  assert told.startswith(f'{newest}: params.')
  with pytest.raises(CorruptError, match='not what was saved'):
    convert.to_hf(newest, tmp_path / 'theirs')
  assert not (tmp_path / 'theirs').exists()


def test_a_checkpoint_written_layer_by_layer_is_verified(tmp_path):
  shapes = {'layers/w': (3, 4, 5), 'head': (6,)}
  draw = np.random.default_rng(0)
  arrays = {
    path: draw.normal(size=shape).astype(np.float32)
    for path, shape in shapes.items()
  }
  one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  abstract = hf.by_tree(
    {
      path: jax.ShapeDtypeStruct(shape, np.float32, sharding=one)
      for path, shape in shapes.items()
    }
  )
  folder = tmp_path / '0'
  made = stored.new_params(
    folder, checkpoint.Meta({}, '', {}, {}, 0, 0.0), abstract
  )
  for layer in (2, 0, 1):
    made['layers/w'][layer,] = arrays['layers/w'][layer]
  made['head'][()] = arrays['head']
  stored.seal(folder, made)
  loaded = hf.by_path(checkpoint.load_params(folder, abstract))
  for path, array in arrays.items():
    np.testing.assert_array_equal(loaded[path], array)
  made['layers/w'][1,] = arrays['layers/w'][0]
  with pytest.raises(CorruptError, match=r'params\.layers\.w is not what was'):
    checkpoint.load_params(folder, abstract)


def _in_two_processes(undisturbed, tmp_path):
  """Trains to the end, which is then forgotten; the workdir and the config."""
  folder = tmp_path / 'run'
  spread = with_overrides(undisturbed.config, {'mesh.data': -1})
  with launching.Group(spread, folder, 2) as group:
    assert group.finish() == [0, 0]
  (folder / workdir.DONE).unlink()
  return folder, spread


@pytest.mark.long
def test_two_processes_come_to_the_same_checkpoint(undisturbed, tmp_path):
  folder, spread = _in_two_processes(undisturbed, tmp_path)
  root = folder / CHECKPOINTS
  before = (folder / metrics.METRICS).read_bytes()
  shutil.copytree(root / '40', tmp_path / '40')
  data = (root / '40').glob('optimizer/ocdbt.process_*/d/*')
  _damage(max(data, key=lambda p: p.stat().st_size), 'flipped')
  with launching.Group(spread, folder, 2) as group:
    assert group.finish() == [0, 0]
    assert 'set it aside as 40.corrupt' in group.output(0)
  assert (folder / metrics.METRICS).read_bytes() == before
  states = [
    checkpoint.load_state(path, undisturbed.abstract)
    for path in (tmp_path / '40', root / '40')
  ]
  jax.tree.map(np.testing.assert_array_equal, *states)


# The second process alone finds what it has read of the newest one damaged.
_ONE_ALONE = """
import runpy
import jax
from train.storage import integrity

verify = integrity.verify

def found(there, here, what):
  if jax.process_index() == 1 and what.endswith('40'):
    raise integrity.CorruptError(f'{what} is bad')
  verify(there, here, what)

integrity.verify = found
runpy.run_module('train.pretrain', run_name='__main__')
"""


@pytest.mark.long
def test_what_one_process_finds_damaged_is_so_for_all(undisturbed, tmp_path):
  folder, spread = _in_two_processes(undisturbed, tmp_path)
  before = (folder / metrics.METRICS).read_bytes()
  head = [sys.executable, '-c', _ONE_ALONE, launching.HEAD[-1]]
  with launching.Group(spread, folder, 2, head=head) as group:
    assert group.finish() == [0, 0]
    assert 'is bad; going on from step 30, and set it' in group.output(0)
  assert (folder / metrics.METRICS).read_bytes() == before


@pytest.mark.long
def test_a_kill_during_a_save_costs_nothing(undisturbed, tmp_path):
  folder = tmp_path / 'run'
  often = with_overrides(undisturbed.config, {'checkpoint.every_steps': 1})
  process = subprocess.Popen(
    [
      sys.executable,
      '-m',
      'train.pretrain',
      '--config=configs/pretrain.py',
      f'--workdir={folder}',
      *(f'--config.{k}={v}' for k, v in flatten(often).items()),
    ],
    cwd=ROOT,
  )
  root = folder / CHECKPOINTS
  deadline = time.monotonic() + 300
  # Killed while a later one is half there.
  while not (list(root.glob('*-tmp')) and list(root.glob('[5-9]'))):
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.001)
  process.send_signal(signal.SIGKILL)
  process.wait()
  assert workdir.read_done(folder) is None
  assert _run(undisturbed.config, folder).finished
  assert not list(root.glob('*-tmp'))
  _assert_same_end(undisturbed, folder)

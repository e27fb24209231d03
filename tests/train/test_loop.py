"""Whole runs: interrupted, resumed, branched, refused."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import pretrain
from configs.errors import UserError
from configs.tree import flatten, with_overrides
from train import checkpoint, loop, metrics, workdir
from train.storage.places import CHECKPOINTS

ROOT = pathlib.Path(__file__).parents[2]


def _run(config, folder, **kwargs):
  return loop.run(
    config,
    folder,
    devices=kwargs.pop('devices', jax.devices()[:1]),
    show_progress=False,
    **kwargs,
  )


def _final_arrays(folder):
  """Every array of the newest checkpoint, as saved, and its data state."""
  path = checkpoint.find(folder)
  loaded = checkpoint.load_raw(path)
  return jax.tree.map(np.asarray, loaded), checkpoint.load_meta(path)


def _assert_same_run(one, other):
  """Same bytes of metrics, same parameters, moments and data state."""
  logs = [(f / metrics.METRICS).read_bytes() for f in (one, other)]
  assert logs[0] == logs[1]
  (arrays, meta), (other_arrays, other_meta) = map(_final_arrays, (one, other))
  jax.tree.map(np.testing.assert_array_equal, arrays, other_arrays)
  assert meta.data_state == other_meta.data_state
  assert meta.step == other_meta.step


@pytest.fixture(scope='session')
def straight(tiny_config, tmp_path_factory):
  """A run of 40 steps that nothing disturbed."""
  folder = tmp_path_factory.mktemp('straight') / 'run'
  result = _run(tiny_config, folder)
  assert result.finished
  return folder


def test_a_run_learns_and_logs_every_step(straight):
  lines = metrics.read_metrics(straight / metrics.METRICS)
  losses = {line['step']: line['loss'] for line in lines if 'loss' in line}
  assert list(losses) == list(range(1, 41))
  assert losses[1] == pytest.approx(np.log(320), abs=0.1)  # knows nothing yet
  assert losses[40] < losses[1] - 0.5
  validated = [line['step'] for line in lines if 'validation_loss' in line]
  assert validated == [20, 40]
  assert (
    workdir.read_done(straight)['metrics']['validation_loss']
    == (lines[-1]['validation_loss'])
  )


def test_a_finished_run_is_not_run_again(tiny_config, straight):
  before = (straight / workdir.DONE).stat().st_mtime_ns
  assert _run(tiny_config, straight).step == 40
  assert (straight / workdir.DONE).stat().st_mtime_ns == before


def _command(config, folder):
  """`python -m train.pretrain` with every key as a flag."""
  return [
    sys.executable,
    '-m',
    'train.pretrain',
    '--config=configs/pretrain.py',
    f'--workdir={folder}',
    *(f'--config.{k}={v}' for k, v in flatten(config).items()),
  ]


def _start(config, folder):
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  # Several virtual devices may split a sum differently than one.
  return subprocess.Popen(
    _command(config, folder),
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def _wait_for_step(process, folder, step):
  deadline = time.monotonic() + 120
  while time.monotonic() < deadline:
    steps = metrics.read_metrics(folder / metrics.TIMING)
    if steps and steps[-1]['step'] >= step:
      return
    if process.poll() is not None:
      pytest.fail(f'ended early: {process.stdout.read()}')
    time.sleep(0.01)
  pytest.fail('no step in two minutes')


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_resumes_to_the_same_end(
  tiny_config, straight, tmp_path, how
):
  folder = tmp_path / 'run'
  step = random.SystemRandom().randint(3, 30)
  process = _start(tiny_config, folder)
  _wait_for_step(process, folder, step)
  process.send_signal(how)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == (-how if how == signal.SIGKILL else 0), output
  assert workdir.read_done(folder) is None
  assert _run(tiny_config, folder).finished
  _assert_same_run(straight, folder)


def test_a_branch_equals_the_straight_run_of_its_length(
  tiny_config, straight, tmp_path
):
  trunk = with_overrides(
    tiny_config,
    {'train.num_steps': 60, 'checkpoint.keep_steps': (32,)},
  )
  _run(trunk, tmp_path / 'trunk')
  branch = with_overrides(
    tiny_config, {'checkpoint.branch_from': str(tmp_path / 'trunk')}
  )
  result = _run(branch, tmp_path / 'branch')
  assert result.finished
  _assert_same_run(straight, tmp_path / 'branch')


def test_a_branch_of_another_recipe_is_refused(tiny_config, straight, tmp_path):
  branch = with_overrides(
    tiny_config,
    {
      'checkpoint.branch_from': str(straight),
      'train.num_steps': 38,
      'optimizer.b2': 0.9,
    },
  )
  with pytest.raises(UserError, match=r'optimizer\.b2 is 0\.98 there'):
    _run(branch, tmp_path / 'branch')


def test_a_branch_from_where_the_trunk_decays_is_refused(
  tiny_config, straight, tmp_path
):
  branch = with_overrides(
    tiny_config,
    {'checkpoint.branch_from': str(straight), 'train.num_steps': 48},
  )
  with pytest.raises(UserError, match='is past step 32, from which'):
    _run(branch, tmp_path / 'branch')


def test_execution_may_change_on_resume(tiny_config, straight, tmp_path):
  folder = tmp_path / 'run'
  with pytest.raises(_CrashError):
    _run_until(tiny_config, folder, 25)
  changed = with_overrides(
    tiny_config,
    {
      'model.attention': 'xla',
      'model.scan_layers': True,
      'model.remat': 'full',
      'mesh.fsdp': 2,
    },
  )
  _run(changed, folder, devices=jax.devices()[:2])
  ends = [workdir.read_done(f)['metrics'] for f in (straight, folder)]
  assert ends[1]['validation_loss'] == pytest.approx(
    ends[0]['validation_loss'], rel=1e-5
  )


def test_a_key_that_may_change_frees_no_longer_one():
  there = {
    'mesh': {'data': 1},
    'model': {'attention': 'auto', 'attention_scale': 'sqrt'},
  }
  changes = {'mesh.data': 2, 'model.attention': 'xla'}
  here = with_overrides(ConfigDict(there), changes)
  assert workdir.difference(there, here) == ''
  here = with_overrides(ConfigDict(there), {'model.attention_scale': 'none'})
  told = workdir.difference(there, here)
  assert told.startswith('model.attention_scale is')


def test_a_key_that_is_younger_than_a_config_has_its_default_there():
  here = pretrain.get_config()
  there = here.to_dict()
  del there['train']['z_loss'], there['optimizer']['ema_decay']
  del there['train']['spike']
  assert workdir.difference(there, here) == ''
  change = with_overrides(here, {'train.z_loss': 1e-4})
  told = workdir.difference(there, change)
  assert told == 'train.z_loss is 0.0 there and 0.0001 here'


class _CrashError(Exception):
  """Stands for a crash between two steps."""


def _run_until(config, folder, step):
  with pytest.MonkeyPatch.context() as patch:
    real = loop.learning_rate

    def crash(optimizer, schedule, number, num_steps):
      if number == step:
        raise _CrashError
      return real(optimizer, schedule, number, num_steps)

    patch.setattr(loop, 'learning_rate', crash)
    _run(config, folder)


def test_dropout_is_drawn_anew_each_step_and_again_on_resume(
  tiny_config, straight, tmp_path
):
  short = {'train.num_steps': 12, 'schedule.decay_steps': 2}
  saved = {'checkpoint.every_steps': 6, 'train.eval_every_steps': 0}
  config = with_overrides(
    tiny_config,
    short | saved | {'model.dropout': 0.3, 'train.accumulate_steps': 2},
  )
  _run(config, tmp_path / 'whole')
  resumed = tmp_path / 'resumed'
  shutil.copytree(tmp_path / 'whole', resumed)
  shutil.rmtree(resumed / CHECKPOINTS / '12')
  (resumed / workdir.DONE).unlink()
  _run(config, resumed)
  _assert_same_run(tmp_path / 'whole', resumed)
  first = [
    metrics.read_metrics(folder / metrics.METRICS)[0]['loss']
    for folder in (straight, resumed)
  ]
  assert first[0] != first[1]


def test_a_workdir_of_another_config_is_refused(tiny_config, straight):
  other = with_overrides(tiny_config, {'train.seed': 1})
  with pytest.raises(UserError, match=r'train\.seed is 0 there and 1 here'):
    _run(other, straight)


def test_a_refused_run_leaves_nothing_behind(tiny_config, tmp_path):
  bad = with_overrides(tiny_config, {'mesh.tensor': 3, 'mesh.data': -1})
  with pytest.raises(UserError, match=r'no mesh\.data fills them'):
    _run(bad, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_two_processes_cannot_share_a_workdir(tiny_config, tmp_path):
  tree = workdir.as_json(tiny_config.to_dict())
  with (
    workdir.claimed(tmp_path, tree),
    pytest.raises(UserError, match='another process'),
  ):
    _run(tiny_config, tmp_path)


def test_divergence_names_the_step_and_the_last_good_checkpoint(
  tiny_config, tmp_path, monkeypatch
):
  real = loop.learning_rate
  monkeypatch.setattr(
    loop,
    'learning_rate',
    lambda o, s, step, n: float('inf') if step == 13 else real(o, s, step, n),
  )
  with pytest.raises(UserError, match=r'step 15 .*checkpoints/10'):
    _run(tiny_config, tmp_path)
  assert checkpoint.find(tmp_path).name == '10'
  assert workdir.read_done(tmp_path) is None


def test_changed_text_is_refused(tiny_config, straight, tmp_path, text_dir):
  del straight
  source = tmp_path / 'text'
  source.mkdir()
  for file in text_dir.glob('*.jsonl'):
    (source / file.name).write_bytes(file.read_bytes())
  config = with_overrides(
    tiny_config, {'data.source': f'files:{source}/*.jsonl'}
  )
  with pytest.raises(_CrashError):
    _run_until(config, tmp_path / 'run', 15)
  with (source / 'more.jsonl').open('w') as file:
    file.write(json.dumps({'text': 'something new', 'library': 'x'}) + '\n')
  with pytest.raises(UserError, match='other text'):
    _run(config, tmp_path / 'run')

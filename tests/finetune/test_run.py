"""Adapting from end to end: learning, saving, stopping, refusing."""

import json
import math
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs.errors import UserError
from configs.finetune import get_config
from configs.tree import to_dataclass, with_overrides
from finetune import classifier, fit, tasks
from finetune.config import FinetuneConfig
from finetune.run import run
from train import checkpoint, metrics, workdir
from train.mesh.rules import MESH_AXES
from train.pretrained import load_pretrained

ROOT = pathlib.Path(__file__).parents[2]


def _run(config, base_run, folder, **overrides):
  config = with_overrides(config, overrides)
  axes = (config.mesh[axis] for axis in MESH_AXES)
  devices = jax.devices()[: math.prod(axes)]
  return run(config, base_run, folder, devices=devices, show_progress=False)


@pytest.fixture(scope='module')
def full(tiny_finetune, base_run, tmp_path_factory):
  folder = tmp_path_factory.mktemp('full') / 'run'
  return _run(tiny_finetune, base_run, folder)


@pytest.fixture(scope='module')
def topics(data_config):
  return tasks.load('library', data_config, 8000, 0)


def test_topics_are_learnt(full):
  assert full.finished
  assert full.step == 30
  acc, majority = full.scores['acc'], full.scores['majority_acc']
  assert acc['interval'][0] > majority['interval'][1]
  low, high = acc['interval']
  assert low < acc['value'] <= high
  assert acc['n'] == majority['n'] > 10


def test_the_baseline_names_the_most_frequent_class(full, topics):
  names = [example.label for example in topics.splits['train']]
  most = max(sorted(set(names)), key=names.count)
  test = [example.label for example in topics.splits['test']]
  share = test.count(most) / len(test)
  assert full.scores['majority_acc']['value'] == pytest.approx(share)


def test_losses_and_accuracies_are_logged(full):
  lines = metrics.read_metrics(pathlib.Path(full.workdir) / metrics.METRICS)
  losses = {line['step']: line['loss'] for line in lines if 'loss' in line}
  assert list(losses) == [5, 10, 15, 20, 25, 30]
  assert losses[30] < losses[5] < np.log(3) + 0.1
  assert [line['step'] for line in lines if 'validation_acc' in line] == [20]


def test_what_is_saved_is_what_was_scored(full, topics):
  loaded = classifier.load(full.workdir, devices=jax.devices()[:1])
  assert loaded.classes == ('garden', 'harbour', 'kitchen')
  examples = topics.splits['test']
  found = classifier.predict(loaded, [example.text for example in examples])
  right = [a == b.label for a, b in zip(found, examples, strict=True)]
  assert np.mean(right) == full.scores['acc']['value']


def test_a_finished_run_is_not_run_again(full, tiny_finetune, base_run):
  marker = pathlib.Path(full.workdir) / workdir.DONE
  before = marker.stat().st_mtime_ns
  assert _run(tiny_finetune, base_run, full.workdir) == full
  assert marker.stat().st_mtime_ns == before


def test_a_probe_changes_nothing_but_the_head(
  tiny_finetune, base_run, tmp_path
):
  result = _run(tiny_finetune, base_run, tmp_path, mode='probe')
  acc, majority = result.scores['acc'], result.scores['majority_acc']
  assert acc['interval'][0] > majority['interval'][1]
  assert result.step == 0
  probed = classifier.load(tmp_path).params['decoder']
  base = load_pretrained(base_run).params
  jax.tree.map(np.testing.assert_array_equal, probed, base)


def test_from_scratch_the_checkpoint_is_not_used(
  tiny_finetune, base_run, tmp_path
):
  short = {'num_steps': 1, 'warmup_steps': 0}
  for mode in ('scratch', 'full'):
    config = with_overrides(tiny_finetune, {'mode': mode, **short})
    assert _run(config, base_run, tmp_path / mode).finished
  base = load_pretrained(base_run).params['decoder']
  moved = {
    mode: np.concatenate(
      [
        np.ravel(a - b)
        for a, b in zip(
          jax.tree.leaves(
            classifier.load(tmp_path / mode).params['decoder']['decoder']
          ),
          jax.tree.leaves(base),
          strict=True,
        )
      ]
    )
    for mode in ('scratch', 'full')
  }
  # One step, whose gradient a head of zeros does not pass on: only decay.
  assert np.abs(moved['full']).max() < 1e-3
  assert np.abs(moved['scratch']).mean() > 1e-3


def test_stopped_it_starts_again_and_ends_the_same(
  full, tiny_finetune, base_run, tmp_path, monkeypatch
):
  class StopAt:
    """Becomes true at the tenth step, as a signal would make it."""

    asked = 0

    def __bool__(self):
      self.asked += 1
      return self.asked > 10

  with monkeypatch.context() as patch:
    original = fit.fit
    patch.setattr(
      'finetune.adapt.fit',
      lambda *args: original(*args[:5], StopAt(), args[6]),
    )
    stopped = _run(tiny_finetune, base_run, tmp_path)
  assert (stopped.finished, stopped.step, stopped.scores) == (False, 10, {})
  assert workdir.read_done(tmp_path) is None
  with pytest.raises(UserError, match='no checkpoint'):
    checkpoint.find(tmp_path)
  again = _run(tiny_finetune, base_run, tmp_path)
  assert again.scores == full.scores
  logs = [pathlib.Path(f, metrics.METRICS) for f in (tmp_path, full.workdir)]
  assert logs[0].read_bytes() == logs[1].read_bytes()


def test_another_mesh_learns_the_same(full, tiny_finetune, base_run, tmp_path):
  mesh = {'mesh.data': 2, 'mesh.fsdp': 2, 'mesh.tensor': 2}
  config = with_overrides(tiny_finetune, mesh)
  other = _run(config, base_run, tmp_path)
  found = [
    [line['loss'] for line in metrics.read_metrics(path) if 'loss' in line]
    for path in (
      pathlib.Path(other.workdir, metrics.METRICS),
      pathlib.Path(full.workdir, metrics.METRICS),
    )
  ]
  np.testing.assert_allclose(*found, rtol=1e-4)


@pytest.mark.parametrize(
  ('overrides', 'message'),
  [
    ({'mode': 'half'}, "mode = 'half': choose from full, scratch, probe"),
    ({'task': 'nope'}, "no task 'nope'; choose from library"),
    ({'max_length': 17}, r'max_length = 17.*sequence_length = 16'),
    ({'max_length': 1}, 'max_length = 1: at least 2'),
    ({'batch_size': 0}, 'batch_size = 0: at least 1'),
    ({'batch_size': 12, 'mesh.data': 8}, 'does not divide over mesh'),
    ({'warmup_steps': 31}, 'warmup_steps = 31: from 0 to num_steps = 30'),
    ({'probe_l2': 0.0}, 'probe_l2 = 0.0: above 0'),
    ({'seed': -1}, 'seed = -1: at least 0'),
    ({'optimizer.learning_rate': 0.0}, 'learning_rate = 0.0: above 0'),
    ({'optimizer.learning_rate': 1e30, 'num_steps': 5}, 'has diverged at step'),
  ],
)
def test_mistakes(tiny_finetune, base_run, tmp_path, overrides, message):
  with pytest.raises(UserError, match=message):
    _run(tiny_finetune, base_run, tmp_path, **overrides)
  assert workdir.read_done(tmp_path) is None


def test_a_workdir_of_another_run(full, tiny_finetune, base_run):
  with pytest.raises(UserError, match='another config: seed is 0 there'):
    _run(tiny_finetune, base_run, full.workdir, seed=1)


def test_a_classifier_is_no_checkpoint_to_start_from(
  full, tiny_finetune, base_run, tmp_path
):
  with pytest.raises(UserError, match='finetune is no key'):
    _run(tiny_finetune, full.workdir, tmp_path)
  with pytest.raises(UserError, match='is no classifier'):
    classifier.load(base_run)


def test_every_key_of_the_config_has_its_field():
  config = to_dataclass(FinetuneConfig, get_config())
  assert config.schedule.warmup_steps + config.schedule.decay_steps == 300
  with pytest.raises(UserError, match='choose from library'):
    get_config('nope')


def test_the_command(full, base_run, tmp_path):
  flags = [
    f'--checkpoint={base_run}',
    f'--workdir={tmp_path}',
    '--config.mode=probe',
    '--config.max_length=16',
  ]
  command = [sys.executable, '-m', 'finetune.run']
  command += ['--config=configs/finetune.py:library', *flags]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  found = json.loads((tmp_path / workdir.DONE).read_text())['scores']['acc']
  assert f'acc: {found["value"]:.4f} (95%: ' in done.stdout

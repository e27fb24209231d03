"""Whole runs that meet spikes."""

import jax
import numpy as np
import pytest

from configs.errors import UserError
from configs.tree import with_overrides
from train import checkpoint, loop, metrics
from train.losses_log import Losses

# At so low a limit the ordinary ups and downs of a loss are spikes.
SPIKES = {
  'train.spike.window_steps': 16,
  'train.spike.threshold': 3.0,
  'train.spike.margin_steps': 2,
  'checkpoint.every_steps': 5,
  'train.eval_every_steps': 0,
}


def _run(config, folder, **overrides):
  return loop.run(
    with_overrides(config, SPIKES | overrides),
    folder,
    devices=jax.devices()[:1],
    show_progress=False,
  )


def _lines(folder):
  return [
    line
    for line in metrics.read_metrics(folder / metrics.METRICS)
    if 'loss' in line
  ]


def _params(folder):
  return checkpoint.load_raw(checkpoint.find(folder))['params']


def test_a_skipped_step_changes_nothing_but_its_number(tiny_config, tmp_path):
  skip = {'train.spike.action': 'skip', 'checkpoint.keep_every_steps': 1}
  assert _run(tiny_config, tmp_path, **skip).finished
  skipped = [line['step'] for line in _lines(tmp_path) if line['skipped']]
  assert 0 < len(skipped) < 20
  for step in (skipped[0], skipped[0] - 1):
    before, after = (
      checkpoint.load_raw(checkpoint.find(tmp_path, s))['params']
      for s in (step - 1, step)
    )
    same = jax.tree.leaves(jax.tree.map(np.array_equal, before, after))
    assert all(same) if step == skipped[0] else not any(same)


def test_a_rewound_run_passes_over_the_batches_of_its_spike(
  tiny_config, tmp_path, caplog
):
  rewind = {'train.spike.action': 'rewind'}
  assert _run(tiny_config, tmp_path, **rewind).finished
  told = [r.getMessage() for r in caplog.records if 'going back' in r.message]
  assert told
  lines = _lines(tmp_path)
  assert [line['step'] for line in lines] == list(range(1, 41))
  meta = checkpoint.load_meta(checkpoint.find(tmp_path))
  assert meta.step == 40
  assert meta.data_state['next_index'] > 40
  assert meta.spikes['rewinds'] == len(told)


def test_a_rewound_run_ends_the_same_when_it_is_interrupted(
  tiny_config, tmp_path, monkeypatch
):
  rewind = {'train.spike.action': 'rewind'}
  _run(tiny_config, tmp_path / 'straight', **rewind)
  advance = Losses.advance

  def crash(self, state, rows, step, rate):
    if step == 33:
      raise RuntimeError('crash')
    return advance(self, state, rows, step, rate)

  with monkeypatch.context() as patch:
    patch.setattr(Losses, 'advance', crash)
    with pytest.raises(RuntimeError, match='crash'):
      _run(tiny_config, tmp_path / 'other', **rewind)
  _run(tiny_config, tmp_path / 'other', **rewind)
  assert _lines(tmp_path / 'straight') == _lines(tmp_path / 'other')
  jax.tree.map(
    np.testing.assert_array_equal,
    _params(tmp_path / 'straight'),
    _params(tmp_path / 'other'),
  )


def test_a_run_that_spikes_without_end_is_ended(tiny_config, tmp_path):
  rewind = {'train.spike.action': 'rewind', 'train.spike.max_rewinds': 0}
  with pytest.raises(UserError, match=r'train\.spike\.max_rewinds = 0'):
    _run(tiny_config, tmp_path, **rewind)

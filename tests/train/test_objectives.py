"""Encoders and encoder-decoders: trained, interrupted, resumed, evaluated."""

import os
import signal

import jax
import numpy as np
import pytest

from configs import pretrain
from configs.errors import UserError
from configs.tree import with_overrides
from evals.run import evaluate
from train import checkpoint, loop, metrics

SHAPE = {
  'model.num_layers': 1,
  'model.width': 32,
  'model.num_heads': 2,
  'model.num_kv_heads': 2,
  'model.head_width': 16,
  'model.ffn_width': 64,
}


def _config(size, tiny_config, data_overrides):
  """A small model of the kind of `size` on the small text."""
  run = {
    key: tiny_config.train[key]
    for key in ('log_every_steps', 'eval_every_steps', 'eval_sequences')
  }
  return with_overrides(
    pretrain.get_config(size),
    data_overrides
    | SHAPE
    | {
      'data.vocab_size': 340,
      'data.sequence_length': 32,
      'model.vocab_size': 340,
      'mesh.data': 1,
      'schedule.warmup_steps': 4,
      'schedule.decay_steps': 8,
      'train.num_steps': 40,
      'checkpoint.every_steps': 10,
      **{f'train.{key}': value for key, value in run.items()},
    },
  )


@pytest.fixture(scope='module', params=['pocket-bert', 'pocket-t5'])
def trained(request, tiny_config, data_overrides, tmp_path_factory):
  """A config and its finished run."""
  config = _config(request.param, tiny_config, data_overrides)
  folder = tmp_path_factory.mktemp(request.param) / 'run'
  result = loop.run(
    config, folder, devices=jax.devices()[:1], show_progress=False
  )
  assert result.finished
  return config, folder


def test_it_learns(trained):
  _, folder = trained
  lines = metrics.read_metrics(folder / metrics.METRICS)
  losses = [line['loss'] for line in lines if 'loss' in line]
  assert losses[0] == pytest.approx(np.log(340), abs=0.3)  # knows nothing yet
  assert np.mean(losses[-5:]) < losses[0] - 0.5


def test_interrupted_it_ends_the_same(trained, tmp_path, monkeypatch):
  config, straight = trained
  folder = tmp_path / 'run'
  write = metrics.JsonlWriter.write

  def stop_at_17(self, step, values):
    write(self, step, values)
    if step == 17:
      os.kill(os.getpid(), signal.SIGTERM)

  def run():
    return loop.run(
      config, folder, devices=jax.devices()[:1], show_progress=False
    )

  with monkeypatch.context() as patch:
    patch.setattr(metrics.JsonlWriter, 'write', stop_at_17)
    assert not run().finished
  assert run().finished
  logs = [(f / metrics.METRICS).read_bytes() for f in (straight, folder)]
  assert logs[0] == logs[1]
  arrays = [checkpoint.load_raw(checkpoint.find(f)) for f in (straight, folder)]
  jax.tree.map(np.testing.assert_array_equal, *arrays)


def test_it_is_scored_as_it_was_trained(trained):
  _, folder = trained
  devices = jax.devices()[:1]
  found = evaluate(folder, ['heldout'], devices=devices)['tasks']['heldout']
  again = evaluate(folder, ['heldout'], devices=devices)['tasks']['heldout']
  assert found == again
  lines = metrics.read_metrics(folder / metrics.METRICS)
  validation = lines[-1]['validation_loss']
  assert found['loss']['value'] == pytest.approx(validation, abs=0.5)
  assert found['loss']['n'] > 10
  with pytest.raises(UserError, match='needs a decoder'):
    evaluate(folder, ['continuation'], devices=devices)


def test_what_does_not_go_together_is_refused_before_any_work(
  tiny_config, data_overrides, tmp_path
):
  config = _config('pocket-bert', tiny_config, data_overrides)
  for overrides, message in (
    ({'model.mlm_head': False}, r'model\.mlm_head'),
    ({'data.objective.kind': 'causal'}, r'data\.objective\.kind'),
    ({'model.vocab_size': 339, 'data.vocab_size': 340}, r'model\.vocab_size'),
  ):
    with pytest.raises(UserError, match=message):
      loop.run(
        with_overrides(config, overrides),
        tmp_path / 'run',
        devices=jax.devices()[:1],
      )
  assert not (tmp_path / 'run').exists()

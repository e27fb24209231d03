"""A small model, trained for a moment."""

import jax
import pytest

from configs.tree import with_overrides
from train import loop
from train.pretrained import load_pretrained


@pytest.fixture(scope='session')
def eval_run(tiny_config, tmp_path_factory):
  """The workdir of a run whose model takes 96 tokens."""
  config = with_overrides(
    tiny_config,
    {
      'data.sequence_length': 96,
      'model.num_layers': 1,
      'train.num_steps': 20,
      'train.eval_every_steps': 0,
    },
  )
  folder = tmp_path_factory.mktemp('evals') / 'run'
  devices = jax.devices()[:1]
  assert loop.run(config, folder, devices=devices, show_progress=False).finished
  return folder


@pytest.fixture(scope='session')
def pretrained(eval_run):
  """That run's model on one device."""
  return load_pretrained(eval_run, devices=jax.devices()[:1])

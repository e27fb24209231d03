"""A small model, trained for a moment."""

import dataclasses

import jax
import pytest

from configs.tree import with_overrides
from train import checkpoint, loop
from train.config import MeshConfig
from train.pretrained import abstract_params, load_pretrained
from train.sharding import make_mesh


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
  loaded = load_pretrained(eval_run)
  mesh = make_mesh(MeshConfig(data=1, fsdp=1, tensor=1), jax.devices()[:1])
  params = checkpoint.load_params(
    loaded.folder, abstract_params(loaded.model, mesh)
  )
  return dataclasses.replace(loaded, mesh=mesh, params=params)

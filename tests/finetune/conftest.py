"""A checkpoint to adapt: of random parameters, which need no training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import finetune
from configs.tree import to_dataclass, with_overrides
from model.transformer import Decoder
from train import workdir
from train.checkpoint import Meta
from train.config import RunConfig
from train.mesh.config import MeshConfig
from train.mesh.sharding import make_mesh
from train.pretrained import abstract_params
from train.run_checkpoints import RunCheckpoints
from train.step import TrainState


def _filled(abstract, seed):
  """Random arrays of these shapes; those that scale are about 1."""
  random = np.random.default_rng(seed)

  def one(path, leaf):
    noise = 0.1 * random.normal(size=leaf.shape).astype(np.float32)
    scales = path[-1].key == 'scale'
    return jax.device_put(noise + scales, leaf.sharding)

  return jax.tree_util.tree_map_with_path(one, abstract)


@pytest.fixture(scope='session')
def filled():
  """(abstract arrays, seed) to random ones, with nothing to compile."""
  return _filled


@pytest.fixture(scope='session')
def one_device():
  """The mesh of a single device."""
  return make_mesh(MeshConfig(data=1, fsdp=1, tensor=1), jax.devices()[:1])


@pytest.fixture(scope='session')
def base_run(tiny_config, small_corpus, one_device, tmp_path_factory):
  """The workdir of a run with one checkpoint, on topics that are easy."""
  config = with_overrides(tiny_config, {'model.num_layers': 1})
  run = to_dataclass(RunConfig, config)
  folder = tmp_path_factory.mktemp('finetune') / 'run'
  params = _filled(abstract_params(Decoder(run.model), one_device), seed=0)
  meta = Meta(
    config=workdir.as_json(config.to_dict()),
    tokenizer=small_corpus.tokenizer.to_json(),
    corpus={'digest': small_corpus.digest, **small_corpus.description},
    data_state={},
    step=10,
    seconds=0.0,
  )
  with RunCheckpoints(folder, run.checkpoint) as checkpoints:
    checkpoints.save(TrainState(jnp.int32(10), params, {}), meta)
  return folder


@pytest.fixture(scope='session')
def tiny_finetune():
  """A config of a few short steps."""
  return with_overrides(
    finetune.get_config('library'),
    {
      'mesh.data': 1,
      'max_length': 16,
      'batch_size': 16,
      'num_steps': 30,
      'warmup_steps': 3,
      'eval_every_steps': 20,
      'log_every_steps': 5,
      'optimizer.learning_rate': 0.02,
    },
  )

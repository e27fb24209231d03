"""A small text, prepared once, for every test that needs some."""

import json
import os
import random

import jax
import pytest

from configs import pretrain
from configs.tree import with_overrides
from data import corpus
from data.config import DataConfig

# Most of a test is compiling, which takes half the time when machine code is
# hardly optimized (not at all, and fits of laws take three times as long), is
# made in one thread, and comes from the older of XLA's emitters, where it has
# two. Commands that tests start inherit it. XLA's own passes, such as those on
# sharding, fusion and memory, are the same.
_FLAGS = [
  '--xla_backend_optimization_level=1',
  '--xla_cpu_parallel_codegen_split_count=1',
]
if jax.__version_info__ < (0, 11):
  _FLAGS.append('--xla_cpu_use_fusion_emitters=false')
os.environ.setdefault('XLA_FLAGS', ' '.join(_FLAGS))
# Or the compiler for TPUs, which is installed, complains that there are none.
os.environ['JAX_PLATFORMS'] = 'cpu'
# Before its first use: eight devices, for tests of meshes.
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 8)


def pytest_addoption(parser):
  parser.addoption(
    '--write-golden',
    action='store_true',
    help='with -m hf: write what PyTorch finds to golden.json',
  )


_TOPICS = {
  'kitchen': 'bread butter flour knife oven pepper salt spoon',
  'harbour': 'anchor boat gull harbour mast rope sail tide',
  'garden': 'apple bee daisy hedge lawn rake seed spade',
}


@pytest.fixture(scope='session')
def text_dir(tmp_path_factory):
  """600 sentences in three .jsonl files, with a `library` as their topic."""
  folder = tmp_path_factory.mktemp('text')
  draw = random.Random(0)
  for topic, words in _TOPICS.items():
    rows = []
    for number in range(200):
      chosen = draw.choices(words.split(), k=draw.randint(3, 30))
      text = f'In the {topic}, number {number}: ' + ', the '.join(chosen) + '.'
      rows.append(json.dumps({'text': text, 'library': topic}))
    (folder / f'{topic}.jsonl').write_text('\n'.join(rows) + '\n')
  return folder


@pytest.fixture(scope='session')
def data_overrides(text_dir, tmp_path_factory):
  """Overrides that point any config at the small text."""
  return {
    'data.source': f'files:{text_dir}/*.jsonl',
    'data.cache_dir': str(tmp_path_factory.mktemp('cache')),
    'data.vocab_size': 320,
    'data.sequence_length': 16,
    'data.batch_size': 8,
  }


@pytest.fixture(scope='session')
def data_config(data_overrides):
  """A DataConfig of the small text."""
  values = {key.removeprefix('data.'): v for key, v in data_overrides.items()}
  return DataConfig(tokenizer='bpe', seed=0, **values)


@pytest.fixture(scope='session')
def small_corpus(data_config):
  """The small text, prepared."""
  return corpus.prepare(data_config)


@pytest.fixture(scope='session')
def tiny_config(data_overrides):
  """A pre-training config of a few thousand parameters and 40 steps."""
  return with_overrides(
    pretrain.get_config(),
    data_overrides
    | {
      'model.vocab_size': 320,
      'model.num_layers': 2,
      'model.width': 16,
      'model.num_heads': 4,
      'model.num_kv_heads': 4,
      'model.head_width': 4,
      'model.ffn_width': 24,
      'mesh.data': 1,
      'schedule.warmup_steps': 4,
      'schedule.decay_steps': 8,
      'train.num_steps': 40,
      'train.log_every_steps': 1,
      'train.eval_every_steps': 20,
      'train.eval_sequences': 16,
      'checkpoint.every_steps': 10,
    },
  )

"""A conversion holds one tensor at a time, and leaves nothing when stopped."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import pytest

from configs import model as base
from configs.errors import Interrupted
from configs.tree import to_dataclass
from model import huggingface as hf
from model.config import ModelConfig
from model.huggingface_config import to_theirs
from train import convert
from train.config import CheckpointConfig
from train.foreign.shards import write_shards
from train.foreign.weights import INDEX, WEIGHTS, SafetensorsWeights
from train.pretrained import load_pretrained
from train.run_checkpoints import RunCheckpoints
from train.storage import stored

safetensors = pytest.importorskip(
  'safetensors', reason='the extra test or hf is not installed'
)
ROOT = pathlib.Path(__file__).parents[2]
STATUS = pathlib.Path('/proc/self/status')


@pytest.fixture
def theirs(small_corpus, tmp_path):
  """Makes a llama of theirs with so many layers, in a folder of its own."""
  tokenizer = small_corpus.tokenizer

  def make(where, num_layers, **changes):
    where.mkdir()
    tree = {
      **base.get_config(),
      'vocab_size': tokenizer.vocab_size,
      'num_layers': num_layers,
      **changes,
    }
    config = to_dataclass(ModelConfig, tree, 'model.')
    rules = hf.rules('llama', config)
    shapes = hf.shapes_of_theirs(rules, config, convert.shapes_of(config))
    random = np.random.default_rng(0)

    def tensors():
      for name, shape in shapes.items():
        zero = 'norm' in name  # which a store may leave out
        draw = np.zeros if zero else random.standard_normal
        yield name, draw(shape, dtype=np.float32)

    write_shards(where, shapes, tensors(), 10**10)
    keys = {'eos_token_id': tokenizer.separator_id}
    text = json.dumps(to_theirs('llama', config) | keys)
    (where / 'config.json').write_text(text)
    library = json.loads(tokenizer.to_json())['tokenizer']
    (where / 'tokenizer.json').write_text(json.dumps(library))
    return where

  return make


def _started(*flags):
  return subprocess.Popen(
    [sys.executable, '-m', 'train.convert', *flags],
    cwd=ROOT,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def _peak(*flags):
  """The most of a conversion's own memory, without files' pages, in bytes."""
  command = _started(*flags)
  status = pathlib.Path(f'/proc/{command.pid}/status')
  peak = 0
  while command.poll() is None:
    found = re.search(r'RssAnon:\s+(\d+) kB', status.read_text())
    peak = max(peak, 1000 * int(found[1]) if found else 0)
    time.sleep(0.002)
  assert command.returncode == 0, command.stderr.read()
  return peak


@pytest.mark.skipif(not STATUS.exists(), reason='Linux tells of its memory')
def test_memory_does_not_grow_with_the_layers(theirs, tmp_path):
  peaks, sizes = [], []
  for num_layers in (1, 24):
    # Not kept by pytest, as it is large.
    with tempfile.TemporaryDirectory(dir=tmp_path) as scratch:
      at = pathlib.Path(scratch)
      source = theirs(at / 'theirs', num_layers, width=256, ffn_width=2048)
      ours = at / 'ours'
      peaks.append(
        (
          _peak(f'--from_hf={source}', f'--out={ours}'),
          _peak(f'--checkpoint={ours}', f'--to_hf={at / "again"}'),
        )
      )
      sizes.append((source / WEIGHTS).stat().st_size)
      assert (at / 'again' / WEIGHTS).stat().st_size == sizes[-1]
  whole = sizes[1] - sizes[0]
  assert whole > 150e6
  growth = np.subtract(peaks[1], peaks[0])
  assert all(growth < whole / 2), growth


def _names(folder):
  return sorted(str(path.relative_to(folder)) for path in folder.rglob('*'))


@pytest.mark.parametrize('direction', ['from_hf', 'to_hf'])
def test_a_terminated_command_leaves_nothing(theirs, tmp_path, direction):
  source = theirs(tmp_path / 'theirs', 16, width=128, ffn_width=1024)
  flags = [f'--from_hf={source}', f'--out={tmp_path / "new" / "ours"}']
  if direction == 'to_hf':
    ours = convert.from_hf(source, tmp_path / 'ours')
    flags = [f'--checkpoint={ours}', f'--to_hf={tmp_path / "new" / "theirs"}']
  before = _names(tmp_path)
  command = _started(*flags)
  while not list(tmp_path.glob('.convert-*')):
    assert command.poll() is None, command.stderr.read()
    time.sleep(0.001)
  command.send_signal(signal.SIGTERM)
  _, told = command.communicate(timeout=60)
  assert command.returncode == 128 + signal.SIGTERM
  assert 'Traceback' not in told
  assert told.splitlines()[-1].startswith('error: interrupted; nothing was')
  assert _names(tmp_path) == before


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_function_that_is_stopped_leaves_nothing(
  theirs, tmp_path, monkeypatch, number
):
  source = theirs(tmp_path / 'theirs', 2)
  read = SafetensorsWeights.read

  def stopped_at_a_norm(self, name):
    if name == 'model.layers.1.input_layernorm.weight':
      os.kill(os.getpid(), number)
    return read(self, name)

  monkeypatch.setattr(SafetensorsWeights, 'read', stopped_at_a_norm)
  before = _names(tmp_path)
  with pytest.raises(Interrupted) as caught:
    convert.from_hf(source, tmp_path / 'ours')
  assert caught.value.number == number
  assert _names(tmp_path) == before


def test_a_run_goes_on_from_what_was_imported(theirs, tmp_path):
  made = convert.from_hf(theirs(tmp_path / 'theirs', 3), tmp_path / 'ours')
  keep = CheckpointConfig(
    every_steps=1, keep_last=2, keep_steps=(), branch_from=''
  )
  loaded = load_pretrained(made, devices=jax.devices()[:1])
  with RunCheckpoints(tmp_path / 'ours', keep) as checkpoints:
    assert checkpoints.latest_step == 0
  opened = stored.open_params(made)
  assert opened.keys() == hf.by_path(loaded.params).keys()
  for path, array in hf.by_path(loaded.params).items():
    np.testing.assert_array_equal(opened[path][()], array, err_msg=path)


def test_shards_are_files_of_the_library(tmp_path):
  from safetensors import safe_open

  random = np.random.default_rng(0)
  shapes = {'b': (3, 5), 'a.weight': (7,), 'c': (2, 1, 9), 'd': (1,)}
  tensors = {
    n: random.standard_normal(s, np.float32) for n, s in shapes.items()
  }
  write_shards(tmp_path, shapes, tensors.items(), 4 * 22)
  index = json.loads((tmp_path / INDEX).read_text())
  assert index['metadata'] == {'total_size': 4 * 41}
  first, second = (f'model-0000{i}-of-00002.safetensors' for i in (1, 2))
  assert index['weight_map'] == {
    'b': first,
    'a.weight': first,
    'c': second,
    'd': second,
  }
  for name, shard in index['weight_map'].items():
    content = (tmp_path / shard).read_bytes()
    assert int.from_bytes(content[:8], 'little') % 8 == 0
    with safe_open(tmp_path / shard, 'numpy') as file:
      assert file.metadata() == {'format': 'pt'}
      np.testing.assert_array_equal(file.get_tensor(name), tensors[name])
  with pytest.raises(ValueError, match=r'a \(1,\): expected b \(1,\)'):
    write_shards(tmp_path, {'b': (1,)}, [('a', np.ones(1))], 100)

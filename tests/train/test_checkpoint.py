"""What cannot be loaded is refused, and named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.errors import UserError
from model.huggingface import by_path
from train import checkpoint, loop
from train.pretrained import load_pretrained
from train.step import TrainState


@pytest.fixture(scope='module')
def trained(tiny_config, tmp_path_factory):
  folder = tmp_path_factory.mktemp('trained')
  loop.run(tiny_config, folder, devices=jax.devices()[:1], show_progress=False)
  return folder


def test_a_checkpoint_needs_no_other_file(trained, tmp_path, small_corpus):
  alone = tmp_path / 'moved'
  checkpoint.find(trained).rename(alone)
  try:
    loaded = load_pretrained(alone)
    assert loaded.meta.step == 40
    assert loaded.config.model.width == 16
    assert loaded.tokenizer.decode(loaded.tokenizer.encode('salt')) == 'salt'
    assert loaded.meta.corpus['digest'] == small_corpus.digest
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(loaded.params))
  finally:
    alone.rename(trained / checkpoint.CHECKPOINTS / '40')


def test_parameters_load_onto_any_number_of_devices(trained):
  folder = checkpoint.find(trained)
  raw = checkpoint.load_raw(folder)['params']
  spread = load_pretrained(trained).params  # replicated over eight devices
  assert len(spread['embedding']['table'].sharding.device_set) == 8
  jax.tree.map(np.testing.assert_array_equal, raw, spread)


def test_another_shape_is_named(trained):
  folder = checkpoint.find(trained)
  raw = checkpoint.load_raw(folder)['params']
  wrong = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), raw)
  wrong['embedding']['table'] = jax.ShapeDtypeStruct((5, 5), np.float32)
  with pytest.raises(
    UserError,
    match=r'params\.embedding\.table is \(320, 16\) there and \(5, 5\)',
  ):
    checkpoint.load_params(folder, wrong)


def test_a_missing_array_is_named(trained):
  folder = checkpoint.find(trained)
  raw = checkpoint.load_raw(folder)['params']
  more = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), raw)
  more['extra'] = jax.ShapeDtypeStruct((1,), np.float32)
  with pytest.raises(UserError, match=r'params\.extra is missing there'):
    checkpoint.load_params(folder, more)


def test_no_checkpoint_is_told(tmp_path, trained):
  with pytest.raises(UserError, match='no checkpoint in'):
    checkpoint.find(tmp_path)
  with pytest.raises(UserError, match=r'step 7 .* it has \[30, 40\]'):
    checkpoint.find(trained, 7)


def _equal_layer_by_layer(folder):
  """Reads every layer, and compares; the number of layers in a chunk."""
  raw = by_path(checkpoint.load_raw(folder)['params'])
  stored = checkpoint.open_params(folder)
  assert stored.keys() == raw.keys()
  for path, whole in raw.items():
    assert stored[path].shape == whole.shape
    np.testing.assert_array_equal(stored[path][()], whole)
    for layer in range(len(whole) if 'layers' in path else 0):
      np.testing.assert_array_equal(stored[path][layer,], whole[layer])
  described = checkpoint.ocp.checkpointables_metadata(folder).metadata
  chunks = {
    path: leaf.storage_metadata.chunk_shape
    for path, leaf in by_path(described['params']).items()
  }
  assert chunks['embedding/table'] == raw['embedding/table'].shape
  return {chunk[0] for path, chunk in chunks.items() if 'layers' in path}


def test_a_layer_is_stored_apart(trained, tmp_path, monkeypatch):
  folder = checkpoint.find(trained)
  assert _equal_layer_by_layer(folder) == {1}
  # As it was before: all layers of an array in one chunk.
  monkeypatch.setattr(checkpoint, '_context', checkpoint.ocp.Context)
  loaded = load_pretrained(folder, devices=jax.devices()[:1])
  state = TrainState(jnp.int32(40), loaded.params, {})
  with checkpoint.RunCheckpoints(tmp_path, loaded.config.checkpoint) as old:
    old.save(state, loaded.meta)
  old = checkpoint.find(tmp_path)
  assert _equal_layer_by_layer(old) == {loaded.config.model.num_layers}
  again = load_pretrained(old, devices=jax.devices()[:1])
  jax.tree.map(np.testing.assert_array_equal, again.params, loaded.params)

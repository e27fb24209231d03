"""What cannot be loaded is refused, and named; what is kept, and where."""

import logging
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from configs.errors import UserError
from model.huggingface import by_path
from train import checkpoint, loop, run_checkpoints
from train.checkpoint import Meta
from train.config import CheckpointConfig
from train.pretrained import load_pretrained
from train.run_checkpoints import RunCheckpoints
from train.step import TrainState
from train.storage import contents, stored
from train.storage.integrity import CorruptError
from train.storage.places import CHECKPOINTS


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
    alone.rename(trained / CHECKPOINTS / '40')


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


def test_another_type_is_told(trained):
  folder = checkpoint.find(trained)
  raw = checkpoint.load_raw(folder)['params']
  half = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, 'float16'), raw)
  with pytest.raises(UserError, match='is float32 there and float16 in the'):
    checkpoint.load_params(folder, half)


def test_an_array_too_many_is_named(trained):
  folder = checkpoint.find(trained)
  raw = checkpoint.load_raw(folder)['params']
  less = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), raw)
  del less['embedding']
  told = r'params\.embedding\.table is \(320, 16\) there and missing in'
  with pytest.raises(UserError, match=told):
    checkpoint.load_params(folder, less)


def test_no_checkpoint_is_told(tmp_path, trained):
  with pytest.raises(UserError, match='no checkpoint in'):
    checkpoint.find(tmp_path)
  with pytest.raises(UserError, match=r'step 7 .* it has \[30, 40\]'):
    checkpoint.find(trained, 7)


def _equal_layer_by_layer(folder):
  """Reads every layer, and compares; the number of layers in a chunk."""
  raw = by_path(checkpoint.load_raw(folder)['params'])
  params = stored.open_params(folder)
  assert params.keys() == raw.keys()
  for path, whole in raw.items():
    assert params[path].shape == whole.shape
    np.testing.assert_array_equal(params[path][()], whole)
    for layer in range(len(whole) if 'layers' in path else 0):
      np.testing.assert_array_equal(params[path][layer,], whole[layer])
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
  monkeypatch.setattr(run_checkpoints, '_context', checkpoint.ocp.Context)
  loaded = load_pretrained(folder, devices=jax.devices()[:1])
  state = TrainState(jnp.int32(40), loaded.params, {})
  with RunCheckpoints(tmp_path, loaded.config.checkpoint) as old:
    old.save(state, loaded.meta)
  old = checkpoint.find(tmp_path)
  assert _equal_layer_by_layer(old) == {loaded.config.model.num_layers}
  again = load_pretrained(old, devices=jax.devices()[:1])
  jax.tree.map(np.testing.assert_array_equal, again.params, loaded.params)


def _state(step, width=3):
  """A state that differs from step to step."""
  draw = np.random.default_rng(step)
  params = {
    'layers': {'w': jnp.asarray(draw.normal(size=(2, 8, width)), jnp.float32)},
    'b': jnp.asarray(draw.normal(size=16), jnp.bfloat16),
  }
  moments = jax.tree.map(lambda x: x * 2, params)
  return TrainState(jnp.int32(step), params, {'mu': moments})


def _meta(step):
  return Meta({}, '', {}, {}, step, 0.0)


def _abstract(state, sharding=None):
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=sharding or x.sharding
    ),
    state,
  )


def _keep(**kwargs):
  return CheckpointConfig(
    **{'every_steps': 1, 'keep_last': 2, 'keep_steps': (), 'branch_from': ''}
    | kwargs
  )


def _save(folder, states, keep=None, losses=None):
  with RunCheckpoints(folder, keep or _keep()) as checkpoints:
    for state in states:
      step = int(state.step)
      found = {'validation_loss': losses[step]} if losses else None
      checkpoints.save(state, _meta(step), found)
      checkpoints.wait()


def _assert_equal(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_eight_devices_to_one_to_a_mesh_of_two_by_two_by_two(tmp_path):
  devices = np.array(jax.devices())
  meshes = [
    (Mesh(devices, ('a',)), [('a',), (None, 'a')]),
    (Mesh(devices[:1], ('a',)), [(), ()]),
    (Mesh(devices.reshape(2, 2, 2), ('a', 'b', 'c')), [('c', 'b'), ('a',)]),
  ]
  expected = _state(1, width=4)
  state = expected
  for number, (mesh, (vector, cube)) in enumerate(meshes):

    def lay(leaf, mesh=mesh, vector=vector, cube=cube):
      spec = {0: (), 1: vector[:1], 3: cube}[leaf.ndim]
      sharding = NamedSharding(mesh, PartitionSpec(*spec))
      return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    abstract = jax.tree.map(lay, expected)
    if number:
      folder = checkpoint.find(tmp_path / str(number - 1))
      state = checkpoint.load_state(folder, abstract)
    else:
      state = jax.tree.map(
        lambda x, a: jax.device_put(x, a.sharding), expected, abstract
      )
    for leaf, wanted in zip(
      jax.tree.leaves(state), jax.tree.leaves(abstract), strict=True
    ):
      assert leaf.sharding == wanted.sharding
    _assert_equal(state, expected)
    _save(tmp_path / str(number), [state])


def test_which_checkpoints_are_kept(tmp_path):
  losses = {1: 5.0, 2: 3.0, 3: 9.0, 4: 8.0, 5: 4.0, 6: 3.5, 7: 3.5, 8: 6.0}
  keep = _keep(keep_last=1, keep_every_steps=4, keep_steps=(1,), keep_best=2)
  _save(tmp_path, [_state(s) for s in range(1, 7)], keep, losses)
  assert _steps(tmp_path) == [1, 2, 4, 6]  # best: 2 (3.0) and 6 (3.5)
  # Another process finds the losses in the checkpoints; of equal ones the later
  # is kept.
  _save(tmp_path, [_state(s) for s in (7, 8)], keep, losses)
  assert _steps(tmp_path) == [1, 2, 4, 7, 8]
  assert checkpoint.load_meta(checkpoint.find(tmp_path, 7)).metrics == {
    'validation_loss': 3.5
  }


def _steps(folder):
  root = folder / CHECKPOINTS
  return sorted(int(path.name) for path in root.iterdir())


def test_when_a_run_saves(tmp_path):
  keep = _keep(every_steps=6, keep_every_steps=4, keep_steps=(3,))
  with RunCheckpoints(tmp_path / 'a', keep) as checkpoints:
    assert [s for s in range(1, 13) if checkpoints.wants(s)] == [3, 4, 6, 8, 12]
    assert not checkpoints.wants(5, validates=True)
  with RunCheckpoints(tmp_path / 'b', _keep(keep_best=1)) as checkpoints:
    assert checkpoints.wants(5, validates=True)


@pytest.mark.parametrize(
  ('key', 'value', 'told'),
  [
    ('keep_best', -1, 'checkpoint.keep_best = -1: at least 0'),
    ('keep_every_steps', -2, 'checkpoint.keep_every_steps = -2: at least 0'),
    ('keep_steps', (3, -3), 'checkpoint.keep_steps has -3: steps from 1 on'),
    ('folder', 'runs/x', "checkpoint.folder = 'runs/x': an absolute path"),
    ('folder', 's3://b/x', "checkpoint.folder = 's3://b/x': a folder, or gs"),
  ],
)
def test_a_bad_policy_is_told(key, value, told):
  with pytest.raises(UserError, match=told):
    _keep(**{key: value}).validate()


def test_an_average_is_used_and_what_is_trained_goes_on(tmp_path):
  state = _state(5)
  average = jax.tree.map(lambda x: x / 2, state.params)
  with RunCheckpoints(tmp_path, _keep()) as checkpoints:
    checkpoints.save(state, _meta(5), averaged=average)
  folder = checkpoint.find(tmp_path)
  abstract = _abstract(state)
  _assert_equal(checkpoint.load_params(folder, abstract.params), average)
  _assert_equal(checkpoint.load_state(folder, abstract), state)
  # Where there is none, nothing is stored twice.
  with RunCheckpoints(tmp_path / 'plain', _keep()) as checkpoints:
    checkpoints.save(state, _meta(5), averaged=state.params)
  raw = checkpoint.load_raw(checkpoint.find(tmp_path / 'plain'))
  assert raw['optimizer'].keys() == {'step', 'state'}


def test_a_step_that_changed_nothing_is_told_of(tmp_path, caplog):
  state = _state(1)
  still = TrainState(jnp.int32(2), state.params, state.optimizer_state)
  _save(tmp_path, [state, still, _state(3)])
  (told,) = [
    r.getMessage() for r in caplog.records if r.name == run_checkpoints.__name__
  ]
  assert told == 'step 2: every parameter is just as it was at step 1'
  with (
    RunCheckpoints(tmp_path, _keep()) as checkpoints,
    pytest.raises(ValueError, match='a state of step 3 as step 4'),
  ):
    checkpoints.save(_state(3), _meta(4))


def test_a_copy_under_another_step_is_refused(tmp_path):
  _save(tmp_path, [_state(1), _state(2)])
  root = tmp_path / CHECKPOINTS
  shutil.copytree(root / '2', root / '3')
  with pytest.raises(CorruptError, match=r'3: it was saved as step 2'):
    checkpoint.load_meta(root / '3')
  # Nor can the arrays of one step stand for those of another.
  shutil.rmtree(root / '2' / 'params')
  shutil.copytree(root / '1' / 'params', root / '2' / 'params')
  with pytest.raises(CorruptError, match=r'2: params\.b is not what was saved'):
    checkpoint.load_params(root / '2', _abstract(_state(2)).params)


def test_an_older_checkpoint_is_taken_as_it_is(tmp_path, caplog):
  state = _state(4)
  items, _ = contents.sealed(contents.items(state), _meta(4))
  del items['meta']['manifest']
  folder = tmp_path / CHECKPOINTS / '4'
  checkpoint.ocp.save_checkpointables(folder, items)
  with (
    caplog.at_level(logging.INFO, checkpoint.__name__),
    RunCheckpoints(tmp_path, _keep()) as checkpoints,
  ):
    found = checkpoints.restore(_abstract(state))
  _assert_equal(found[0], state)
  told = [
    r.getMessage() for r in caplog.records if r.name == checkpoint.__name__
  ]
  assert told == [f'{folder} has no integrity manifest: it is taken as it is']
  params = by_path(state.params)
  for path, one in stored.open_params(folder).items():
    np.testing.assert_array_equal(one[()], params[path])
  with pytest.raises(UserError, match=r'mu\.b is \(16,\) there and missing'):
    bare = TrainState(state.step, state.params, {})
    checkpoint.load_state(folder, _abstract(bare))


def test_a_disk_that_is_full_costs_no_checkpoint(tmp_path):
  _save(tmp_path, [_state(1)])
  large = _state(2, width=50_000)
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  with (
    pytest.raises(
      UserError, match=r'could not be written .* steps \[1\]: make'
    ),
    RunCheckpoints(tmp_path, _keep()) as checkpoints,
  ):
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
      checkpoints.save(large, _meta(2))
      checkpoints.wait()
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  with RunCheckpoints(tmp_path, _keep()) as checkpoints:
    assert checkpoints.latest_step == 1
    _assert_equal(checkpoints.restore(_abstract(_state(1)))[0], _state(1))
    checkpoints.save(_state(2), _meta(2))
  assert _steps(tmp_path) == [1, 2]  # and nothing of the failed one

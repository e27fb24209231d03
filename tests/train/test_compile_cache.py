"""The second start of a run compiles nothing."""

import collections
import concurrent.futures

import jax
import numpy as np
import pytest
from jax import monitoring
from jax.experimental.compilation_cache import compilation_cache

from configs.errors import UserError
from configs.files import make_writable
from data.batch import BatchShape
from train import compile_cache
from train import program as programs
from train.config import StepConfig
from train.mesh.config import MeshConfig
from train.mesh.sharding import make_mesh, put_batch

SHAPE = BatchShape(2, 8)


@pytest.fixture
def events():
  """How often each kind of event of JAX's cache has happened."""
  counts: collections.Counter[str] = collections.Counter()
  listening = [True]

  def count(event, **_):
    if listening and event.startswith('/jax/compilation_cache/'):
      counts[event.rsplit('/', 1)[1]] += 1

  monitoring.register_event_listener(count)
  names = (
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
  )
  before = {name: getattr(jax.config, name) for name in names}
  yield counts
  listening.clear()  # a listener stays
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


def _started(run_config):
  """As a process that starts: state and metrics after two steps."""
  jax.clear_caches()
  mesh = make_mesh(MeshConfig(2, 1, 1), jax.devices()[:2])
  lowered = programs.lower(
    run_config.model, run_config.optimizer, StepConfig(), SHAPE, mesh
  )
  step = lowered.train_step.compile()
  state = lowered.init(jax.random.key(0))
  rows = SHAPE.empty(2)
  random = np.random.default_rng(0)
  for name in ('tokens', 'targets'):
    rows[name][:] = random.integers(0, 7, rows[name].shape)
  rows['weights'][:] = 1
  batch = put_batch(rows, mesh, 2)
  for _ in range(2):
    state, metrics = step(state, batch, np.float32(1e-2), None)
  return jax.tree.map(np.array, (state, metrics))


def test_the_second_start_compiles_nothing(run_config, events, tmp_path):
  plain = _started(run_config)
  assert not events['cache_hits'] + events['cache_misses']
  compile_cache.use(str(tmp_path / 'cache'))
  first = _started(run_config)
  misses = events['cache_misses']
  assert misses >= 2  # init and the step at least
  assert list((tmp_path / 'cache').iterdir())
  hits = events['cache_hits']
  second = _started(run_config)
  assert events['cache_misses'] == misses
  assert events['cache_hits'] - hits >= misses
  # Bit for bit what is compiled afresh.
  for found in (first, second):
    jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_no_folder_changes_nothing(events):
  before = jax.config.jax_compilation_cache_dir
  compile_cache.use('')
  assert jax.config.jax_compilation_cache_dir == before


def test_a_folder_that_cannot_be_written_to(events, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match=r"train\.compile_cache = '.*/file/in'"):
    compile_cache.use(str(tmp_path / 'file' / 'in'))
  with pytest.raises(UserError, match=r"'s3://b': a folder, or gs://BUCKET"):
    compile_cache.use('s3://b')


def test_several_may_begin_with_one_folder(tmp_path):
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    made = pool.map(make_writable, [tmp_path / 'cache'] * 400, ['cache'] * 400)
    assert set(made) == {None}
  assert not list((tmp_path / 'cache').iterdir())

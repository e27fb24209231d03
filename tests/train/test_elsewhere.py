"""Checkpoints that lie elsewhere than in the workdir of their run."""

import contextlib
import shutil
import sys

import jax
import numpy as np
import pytest

from configs.errors import UserError
from configs.tree import with_overrides
from train import checkpoint, loop, metrics, workdir
from train.pretrained import load_pretrained
from train.storage import places, stored
from train.storage.places import CHECKPOINTS


def _one():
  return jax.devices()[:1]


def _run(config, folder):
  return loop.run(config, folder, devices=_one(), show_progress=False)


class _CrashError(Exception):
  """Stands for a machine that is lost."""


def _run_until(config, folder, step):
  """A run that is lost right before the step after this one."""
  with pytest.MonkeyPatch.context() as patch:
    real = loop.learning_rate

    def crash(optimizer, schedule, number, num_steps):
      if number == step:
        raise _CrashError
      return real(optimizer, schedule, number, num_steps)

    patch.setattr(loop, 'learning_rate', crash)
    with pytest.raises(_CrashError):
      _run(config, folder)


@pytest.fixture(scope='module')
def straight(tiny_config, tmp_path_factory):
  """A run that nothing disturbed, with its checkpoints in its workdir."""
  folder = tmp_path_factory.mktemp('straight')
  _run(tiny_config, folder)
  return folder


def _assert_same_end(one, other):
  logs = [(path / metrics.METRICS).read_bytes() for path in (one, other)]
  assert logs[0] == logs[1]
  ends = [load_pretrained(path, 40, devices=_one()) for path in (one, other)]
  jax.tree.map(np.testing.assert_array_equal, *(end.params for end in ends))
  assert ends[0].meta.data_state == ends[1].meta.data_state


def _goes_on_elsewhere(config, straight, tmp_path, folder):
  """Loses one machine after another; each begins in an empty workdir."""
  config = with_overrides(config, {'checkpoint.folder': folder})
  first, second = tmp_path / 'first', tmp_path / 'second'
  _run_until(config, first, 15)
  assert not (first / CHECKPOINTS).exists()
  assert checkpoint.find(folder).name == checkpoint.find(first).name == '10'
  _run_until(config, second, 35)
  assert places.steps_in(checkpoint.find(folder).parent) == [20, 30]
  # Of the first machine, which has logs up to step 15.
  assert _run(config, first).finished
  _assert_same_end(straight, first)
  return first


def test_a_run_goes_on_from_an_empty_workdir(tiny_config, straight, tmp_path):
  folder = str(tmp_path / 'far' / 'away')
  end = _goes_on_elsewhere(tiny_config, straight, tmp_path, folder)
  # The folder is one to evaluate as well as the workdir is.
  for path in (folder, end):
    assert load_pretrained(path).meta.step == 40
  other = with_overrides(
    tiny_config, {'checkpoint.folder': folder, 'train.seed': 1}
  )
  with pytest.raises(UserError, match=r'train\.seed is 0 there and 1 here'):
    _run(other, tmp_path / 'other')


def test_checkpoints_are_not_left_behind(tiny_config, straight, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(straight, run)
  (run / workdir.DONE).unlink()
  moved = with_overrides(
    tiny_config, {'checkpoint.folder': str(tmp_path / 'new')}
  )
  with pytest.raises(UserError, match='new/checkpoints has no checkpoints'):
    _run(moved, run)
  (tmp_path / 'new').mkdir()
  shutil.move(run / CHECKPOINTS, tmp_path / 'new' / 'checkpoints')
  assert _run(moved, run).finished
  assert checkpoint.find(tmp_path / 'new').name == '40'


@pytest.mark.parametrize('path', ['s3://bucket/run', 'http://host/run'])
def test_an_address_of_another_kind_is_refused(path):
  with pytest.raises(UserError, match='give a folder, or gs://BUCKET/PATH'):
    checkpoint.find(path)


def test_a_missing_extra_is_told(monkeypatch):
  monkeypatch.setitem(sys.modules, 'gcsfs', None)
  with pytest.raises(UserError, match=r'needs the extra gcs: run `pip install'):
    checkpoint.find('gs://bucket/run')


@contextlib.contextmanager
def _cloud(monkeypatch):
  """A server that speaks as Google Cloud Storage, with a bucket `bucket`."""
  pytest.importorskip('gcsfs', reason='the extra gcs')
  emulator = pytest.importorskip(
    'gcp_storage_emulator.server', reason='gcp-storage-emulator'
  )
  address = 'localhost', 9037
  url = 'http://{}:{}'.format(*address)
  for name in ('STORAGE_EMULATOR_HOST', 'TENSORSTORE_GCS_HTTP_URL'):
    monkeypatch.setenv(name, url)
  monkeypatch.setenv('GOOGLE_CLOUD_PROJECT', 'none')
  server = emulator.create_server(
    *address, in_memory=True, default_bucket='bucket'
  )
  server.start()
  try:
    yield 'gs://bucket/run'
  finally:
    server.stop()


@pytest.mark.long
@pytest.mark.filterwarnings('ignore')
def test_a_run_goes_on_from_a_bucket(
  tiny_config, straight, tmp_path, monkeypatch
):
  with _cloud(monkeypatch) as folder:
    _goes_on_elsewhere(tiny_config, straight, tmp_path, folder)
    newest = checkpoint.find(folder)
    assert str(newest) == f'{folder}/checkpoints/40'
    assert load_pretrained(newest).meta.step == 40
    table = stored.open_params(newest)['embedding/table'][()]
    params = load_pretrained(straight).params
    np.testing.assert_array_equal(table, params['embedding']['table'])
    # Damage: an object that is missing.
    (newest / 'params' / 'manifest.ocdbt').unlink()
    shutil.rmtree(tmp_path / 'first')
    config = with_overrides(tiny_config, {'checkpoint.folder': folder})
    assert _run(config, tmp_path / 'third').finished
    _assert_same_end(straight, tmp_path / 'third')
    names = {path.name for path in newest.parent.iterdir()}
    assert names == {'30', '40', '40.corrupt'}

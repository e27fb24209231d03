import threading
import time

import pytest

from data import cache


def _fill(folder):
  (folder / 'file').write_text('whole')
  return {'answer': 42}


def test_builds_once(tmp_path):
  path = tmp_path / 'deep' / 'thing'
  assert cache.build_once(path, _fill) == {'answer': 42}

  def refuse(folder):
    raise AssertionError('built twice')

  assert cache.build_once(path, refuse) == {'answer': 42}
  assert (path / 'file').read_text() == 'whole'


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
def test_failure_leaves_nothing(tmp_path, error):
  path = tmp_path / 'thing'

  def fail(folder):
    (folder / 'file').write_text('half')
    raise error

  with pytest.raises(error):
    cache.build_once(path, fail)
  assert [p.name for p in tmp_path.iterdir()] == ['.thing.lock']
  assert cache.build_once(path, _fill) == {'answer': 42}


def test_remains_of_a_killed_builder_go(tmp_path, monkeypatch):
  path = tmp_path / 'thing'
  monkeypatch.setattr(cache.shutil, 'rmtree', lambda *args, **kwargs: None)

  def die(folder):
    (folder / 'file').write_text('half')
    raise SystemExit

  with pytest.raises(SystemExit):
    cache.build_once(path, die)
  monkeypatch.undo()
  assert len(list(tmp_path.glob('.*.partial'))) == 1
  cache.build_once(path, _fill)
  names = {p.name for p in tmp_path.iterdir()}
  assert names == {'thing', '.thing.lock'}


def test_two_at_once_build_once(tmp_path):
  builds = []

  def slow(folder):
    builds.append(folder)
    time.sleep(0.05)
    return _fill(folder)

  threads = [
    threading.Thread(target=cache.build_once, args=(tmp_path / 'thing', slow))
    for _ in range(3)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(builds) == 1


def test_losing_a_race_on_a_shared_disk_is_no_error(tmp_path):
  path = tmp_path / 'thing'

  def overtaken(folder):
    path.mkdir()
    (path / cache.META).write_text('{"answer": 1}')  # by another machine
    return _fill(folder)

  assert cache.build_once(path, overtaken) == {'answer': 1}
  assert not list(tmp_path.glob('.*.partial'))


def test_root(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.delenv('SCALENEST_CACHE', raising=False)
  assert cache.root('') == tmp_path / '.cache/scalenest'
  monkeypatch.setenv('SCALENEST_CACHE', str(tmp_path / 'other'))
  assert cache.root('') == tmp_path / 'other'
  assert cache.root('~/mine') == tmp_path / 'mine'

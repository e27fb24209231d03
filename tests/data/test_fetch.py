import gzip
import os
import threading
import time

import fsspec
import pyarrow as pa
import pytest
from fsspec.registry import known_implementations

from configs.errors import UserError
from data import cache, fetch

TEXT = 'Ein Satz, zwei Sätze.\n' * 5000


@pytest.fixture
def cache_dir(tmp_path):
  return str(tmp_path / 'cache')


@pytest.fixture
def remote():
  """A file system in memory that is empty before and after."""
  filesystem = fsspec.filesystem('memory')
  filesystem.store.clear()
  yield filesystem
  filesystem.store.clear()
  filesystem.pseudo_dirs[:] = ['']


def zstd(content):
  with pa.BufferOutputStream() as target:
    with pa.CompressedOutputStream(target, 'zstd') as stream:
      stream.write(content)
    return target.getvalue().to_pybytes()


def read(file, cache_dir):
  return fetch.local_copy(file, cache_dir).read_text()


def backdate(path):
  """As if the file had been written a minute ago, as far as times tell."""
  os.utime(path, (time.time() - 60,) * 2)


def test_local_files_are_read_where_they_lie(tmp_path, cache_dir):
  (tmp_path / 'sub' / 'deep').mkdir(parents=True)
  for name in ('b.txt', 'a.txt', 'sub/c.txt', 'sub/deep/d.txt'):
    (tmp_path / name).write_text(name)
  found = fetch.find(f'{tmp_path}/**/*.txt')
  relatives = [file.relative for file in found]
  assert relatives == ['a.txt', 'b.txt', 'sub/c.txt', 'sub/deep/d.txt']
  assert [read(file, cache_dir) for file in found] == relatives
  assert fetch.local_copy(found[0], cache_dir) == tmp_path / 'a.txt'
  assert not os.path.exists(cache_dir)


def test_paths_count_from_the_folder_that_was_named(tmp_path):
  (tmp_path / 'en').mkdir()
  (tmp_path / 'en' / 'x.jsonl').write_text('')
  (whole,) = fetch.find(f'{tmp_path}/en/*.jsonl')
  (below,) = fetch.find(f'{tmp_path}/', 'en/*.jsonl')
  assert (whole.relative, below.relative) == ('x.jsonl', 'en/x.jsonl')


def test_a_url_of_a_local_file(tmp_path):
  (tmp_path / 'x.txt').write_text('here')
  (file,) = fetch.find(f'file://{tmp_path}/*.txt')
  assert file == fetch.find(f'{tmp_path}/*.txt')[0]


@pytest.mark.parametrize(
  ('suffix', 'compress'), [('gz', gzip.compress), ('zst', zstd)]
)
def test_compressed_files(tmp_path, cache_dir, suffix, compress):
  half = len(TEXT) // 2
  # as `cat a.gz b.gz` makes them
  joined = b''.join(compress(t.encode()) for t in (TEXT[:half], TEXT[half:]))
  (tmp_path / f'x.txt.{suffix}').write_bytes(joined)
  (file,) = fetch.find(f'{tmp_path}/*.{suffix}')
  assert (file.suffix, file.size) == ('.txt', len(joined))
  assert read(file, cache_dir) == TEXT
  (tmp_path / f'x.txt.{suffix}').write_bytes(compress(b'another'))
  assert read(file, cache_dir) == 'another'


def test_a_copy_is_of_the_content_not_of_size_and_time(tmp_path, cache_dir):
  path = tmp_path / 'x.txt.gz'
  for text in ('one', 'two'):  # of equal size, compressed
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    os.utime(path, (10**9, 10**9))
    (file,) = fetch.find(str(path))
    assert file.size == 23
    assert read(file, cache_dir) == text


def test_names_that_are_no_text(tmp_path):
  with open(os.fsencode(tmp_path) + b'/\xff.txt', 'w'):
    pass
  with pytest.raises(UserError, match=r"/.udcff\.txt' is not UTF-8; rename it"):
    fetch.find(f'{tmp_path}/*.txt')
  for name in ('a\0b/*.txt', 'memory://a\0b', 'a\0b'):
    with pytest.raises(UserError, match=r'no path has a NUL') as caught:
      fetch.find(name)
    assert '\0' not in str(caught.value)


def test_a_compressed_file_is_decompressed_once(tmp_path, cache_dir):
  path = tmp_path / 'x.txt.gz'
  path.write_bytes(gzip.compress(TEXT.encode()))
  (file,) = fetch.find(str(path))
  copy = fetch.local_copy(file, cache_dir)
  before = copy.stat().st_mtime_ns
  threads = [
    threading.Thread(target=fetch.local_copy, args=(file, cache_dir))
    for _ in range(3)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert copy.stat().st_mtime_ns == before
  assert cache.read_meta(copy.parent) == {
    'path': str(path),
    'bytes': len(TEXT.encode()),
  }


@pytest.mark.parametrize(
  ('suffix', 'compress'), [('gz', gzip.compress), ('zst', zstd)]
)
@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (lambda content: content[:-3], r'x.txt.\w+ is truncated \(\w+\)'),
    (lambda content: content[:40], r'x.txt.\w+ is truncated \(\w+\)'),
    (lambda _: TEXT.encode(), r'x.txt.\w+ is not valid (gzip|zstd) \('),
    (lambda content: content + b'more', r'x.txt.\w+ is (truncated|not valid)'),
  ],
)
def test_damaged_files(tmp_path, cache_dir, suffix, compress, damage, message):
  content = damage(compress(os.urandom(100_000)))
  (tmp_path / f'x.txt.{suffix}').write_bytes(content)
  (file,) = fetch.find(f'{tmp_path}/x.*')
  with pytest.raises(UserError, match=message) as caught:
    fetch.local_copy(file, cache_dir)
  assert '\n' not in str(caught.value)
  left = os.listdir(f'{cache_dir}/files')
  assert all(name.endswith('.lock') for name in left)


def test_remote_files(remote, cache_dir):
  remote.pipe(
    {
      '/b/c4/en/train-0.txt.gz': gzip.compress(TEXT.encode()),
      '/b/c4/en/sub/train-1.txt': b'plain',
      '/b/c4/de/train-2.txt': b'other',
    }
  )
  found = fetch.find('memory://b/c4/en/**/*.txt*')
  found = sorted(found, key=lambda file: file.relative)
  relatives = [file.relative for file in found]
  assert relatives == ['sub/train-1.txt', 'train-0.txt.gz']
  assert found[0].path.startswith('memory://')
  assert [read(file, cache_dir) for file in found] == ['plain', TEXT]
  assert [f.size for f in found] == [5, len(gzip.compress(TEXT.encode()))]
  (below,) = fetch.find('memory://b/c4', 'de/*.txt')
  assert below.relative == 'de/train-2.txt'


def test_a_remote_file_that_changes(remote, cache_dir):
  remote.pipe('/b/x.txt', b'one')
  (before,) = fetch.find('memory://b/*.txt')
  version = fetch.fingerprint(before, cache_dir)
  assert read(before, cache_dir) == 'one'
  remote.rm('/b/x.txt')
  remote.pipe('/b/x.txt', b'two')
  (after,) = fetch.find('memory://b/*.txt')
  assert fetch.fingerprint(after, cache_dir) != version
  assert read(after, cache_dir) == 'two'


def test_what_a_file_system_tells_of_the_content_is_the_version(cache_dir):
  def version(**info):
    file = fetch.TextFile('gs://b/x', 'x', '', '', object(), 'b/x', info)
    return fetch.fingerprint(file, cache_dir)

  same = version(size=3, ETag='"abc"', LastAccess=1)
  assert same == version(size=3, ETag='"abc"', LastAccess=2)
  assert same != version(size=3, ETag='"abd"', LastAccess=1)
  assert same != version(size=4, ETag='"abc"', LastAccess=1)


def test_a_file_that_breaks_off(remote, cache_dir, monkeypatch):
  remote.pipe('/b/x.txt', b'one')
  (file,) = fetch.find('memory://b/*.txt')

  def breaks(*args, **kwargs):
    raise TimeoutError

  monkeypatch.setattr(type(remote), 'open', breaks)
  with pytest.raises(
    UserError, match=r'^memory://.*b/x.txt cannot be read: Tim'
  ):
    fetch.local_copy(file, cache_dir)
  monkeypatch.undo()
  assert read(file, cache_dir) == 'one'


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('memory://nowhere/*.txt', 'files:memory://nowhere/.*matches no file'),
    ('gopher://b/*.txt', 'files:gopher://b/.*: Protocol not known: gopher'),
  ],
)
def test_remote_files_that_are_not_there(remote, name, message):
  with pytest.raises(UserError, match=message) as caught:
    fetch.find(name)
  assert '\n' not in str(caught.value)


def test_a_file_system_that_is_not_installed(monkeypatch):
  monkeypatch.setitem(
    known_implementations,
    'cloud',
    {'class': 'absent_package.Cloud', 'err': 'Install absent_package for it'},
  )
  with pytest.raises(
    UserError, match=r'^files:cloud://b/x.txt: Install absent_package for it$'
  ):
    fetch.find('cloud://b/x.txt')


def test_a_file_system_out_of_reach(remote, monkeypatch):
  def unreachable(*args, **kwargs):
    raise RuntimeError('no route\nto host')

  monkeypatch.setattr(type(remote), 'glob', unreachable)
  with pytest.raises(
    UserError, match=r'^files:memory://b/\*.txt: no route to host$'
  ):
    fetch.find('memory://b/*.txt')


def test_a_full_disk(tmp_path, cache_dir, monkeypatch):
  (tmp_path / 'x.txt.gz').write_bytes(gzip.compress(b'text'))
  (file,) = fetch.find(f'{tmp_path}/*.gz')

  def full(*args):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(cache, 'build_once', full)
  with pytest.raises(UserError, match=r'full disk, .*x.txt.gz .*cache_dir'):
    fetch.local_copy(file, cache_dir)


def test_large_files_are_hashed_once(tmp_path, cache_dir, monkeypatch):
  path = tmp_path / 'x.txt'
  path.write_bytes(b'a' * 2**20)
  (file,) = fetch.find(str(path))
  monkeypatch.setattr(fetch, '_SETTLED', -1)  # rather than to wait
  once = fetch.fingerprint(file, cache_dir)
  # of `printf 'a%.0s' $(seq 1048576) | sha256sum`
  assert once == (
    '9bc1b2a288b26af7257a36277ae3816a7d4f16e89c1e7e77d0a5c48bad62b360'
  )
  notes = list((cache.root(cache_dir) / 'files' / 'sha256').iterdir())
  assert [note.read_text() for note in notes] == [once]
  with monkeypatch.context() as patched:
    patched.setattr(fetch, '_sha256', None)
    assert fetch.fingerprint(file, cache_dir) == once
  backdate(path)  # the same content: only its times tell that it is new
  assert fetch.fingerprint(file, cache_dir) == once
  path.write_bytes(b'b' * 2**20)
  backdate(path)
  assert fetch.fingerprint(file, cache_dir) != once


def test_a_file_just_written_is_hashed_again(tmp_path, cache_dir):
  path = tmp_path / 'x.txt'
  path.write_bytes(b'a' * 2**20)
  (file,) = fetch.find(str(path))
  fetch.fingerprint(file, cache_dir)
  assert not os.path.exists(cache_dir)


def test_parts_of_a_file(tmp_path):
  path = tmp_path / 'x.txt'
  path.write_bytes(b'0123456789')
  assert fetch.read_part(str(path), 3, 4, 'one') == b'3456'
  replacement = tmp_path / 'y.txt'
  replacement.write_bytes(b'abcdefghij')
  os.replace(replacement, path)
  assert fetch.read_part(str(path), 3, 4, 'two') == b'defg'

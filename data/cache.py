"""Directories that are built once, whole, whoever else builds them too."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

META = 'meta.json'


def root(cache_dir: str) -> Path:
  """`cache_dir`, or if '' `$SCALENEST_CACHE`, or `~/.cache/scalenest`."""
  chosen = (
    cache_dir or os.environ.get('SCALENEST_CACHE') or '~/.cache/scalenest'
  )
  return Path(chosen).expanduser().absolute()


def build_once(
  path: Path, build: Callable[[Path], Mapping[str, Any]]
) -> dict[str, Any]:
  """Returns the meta data of directory `path`, building it if missing.

  `build` fills a new directory beside `path` and returns its meta data, which
  is written there last, as meta.json; then the directory is renamed. So `path`
  is whole or absent, whenever the process dies. Processes of one machine wait
  for each other; of several builders on a shared disk the first to end wins.
  """
  if (path / META).exists():
    return read_meta(path)
  with locked(path):
    if not (path / META).exists():
      _build(path, build)
  return read_meta(path)


def read_meta(path: Path) -> dict[str, Any]:
  """The meta data of a directory that `build_once` has built."""
  return json.loads((path / META).read_text())


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
  """Holds the lock of `path` between the processes of this machine."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with open(path.parent / f'.{path.name}.lock', 'w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def _build(path: Path, build: Callable[[Path], Mapping[str, Any]]) -> None:
  prefix = f'.{path.name}.{socket.gethostname()}.'
  for stale in path.parent.glob(f'{prefix}*.partial'):
    shutil.rmtree(stale)  # the lock is ours: its builder is dead
  partial = path.parent / f'{prefix}{uuid.uuid4().hex}.partial'
  partial.mkdir()
  try:
    meta = dict(build(partial))
    (partial / META).write_text(json.dumps(meta, indent=2))
    _sync(partial)
    try:
      os.rename(partial, path)
    except OSError:
      if not (path / META).exists():  # else another machine was first
        raise
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _sync(folder: Path) -> None:
  """Waits until all files are on the disk: the rename must not come first."""
  for path in folder.rglob('*'):
    if path.is_file():
      with open(path, 'rb') as file:
        os.fsync(file.fileno())

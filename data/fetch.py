"""Files of text, wherever they lie: found, told apart, and brought near.

Remote files go through fsspec (`gs://`, `s3://`, `hf://`, ...), which takes
credentials and options from its own settings. Compressed and remote files are
copied into the cache once, decompressed; others are read where they lie.
"""

import dataclasses
import errno
import functools
import glob
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import tqdm
from fsspec.implementations.local import LocalFileSystem

from configs import files, tree
from configs.errors import UserError
from data import cache

_COMPRESSIONS = {'.gz': 'gzip', '.zst': 'zstd'}
_CONTENT = 'content'
_BLOCK = 2**20  # bytes
_LONGEST = 300  # characters of another library's message
_WORTH_A_NOTE = 2**20  # bytes: smaller files are hashed anew every time
_OPEN_FILES = 64  # that stay open
_SETTLED = 2 * 10**9  # nanoseconds: a file this old has a time of its own
# What a file system may tell of a file that changes with its content.
_IDENTITIES = (
  'md5Hash',
  'blob_id',
  'ETag',
  'etag',
  'checksum',
  'Content-MD5',
  'Digest',
  'Last-Modified',
)


@dataclasses.dataclass(frozen=True)
class TextFile:
  """A file that a glob matched.

  Attributes:
    path: as it is shown: an absolute path, or a URL.
    relative: the part below the folder before the first wildcard.
    suffix: such as '.jsonl', that of a compression taken off.
    compression: 'gzip', 'zstd' or ''.
    filesystem: of fsspec, for a remote file.
    inner: what `filesystem` calls it.
    info: what `filesystem` tells of it.
  """

  path: str
  relative: str
  suffix: str
  compression: str
  filesystem: Any = None
  inner: str = ''
  info: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def size(self) -> int:
    """Bytes, as it lies there; 0 where a file system does not tell."""
    if self.filesystem is None:
      return _stat(self.path).st_size
    return self.info.get('size') or 0


def find(name: str, pattern: str = '') -> list[TextFile]:
  """The files that match a glob, in the order of their paths.

  Args:
    name: a glob, local or of any protocol of fsspec.
    pattern: if given, a glob below the folder `name`, from which relative
      paths then count.

  Raises:
    UserError: no file, one whose name is not UTF-8, or a file system that is
      missing or out of reach.
  """
  whole = f'{name.rstrip("/")}/{pattern}' if pattern else name
  base = f'{name.rstrip("/")}/*' if pattern else name
  if '\0' in whole:
    raise UserError(f'{f"files:{whole}"!r}: no path has a NUL; take it out')
  if '://' in whole:
    found = _find_remote(whole, base)
  else:
    found = _find_local(whole, base)
  if not found:
    raise UserError(f'files:{whole} matches no file')
  for file in found:
    _check_name(file.path)
  return found


def fingerprint(file: TextFile, cache_dir: str) -> str:
  """What changes with the content of a file.

  This is the SHA-256 of a local file, and what the file system tells of a
  remote one. That of a large local file is noted in the cache, and holds for
  as long as its size, times and inode do.

  Raises:
    UserError: a file that is unreadable.
  """
  if file.filesystem is not None:
    return _remote_version(file)
  before = _signature(file.path)
  note = cache.root(cache_dir) / 'files' / 'sha256' / tree.digest(before)
  if note.exists():
    return note.read_text()
  started = time.time_ns()
  content = _sha256(file.path)
  settled = started - max(before[2:4]) > _SETTLED
  if file.size >= _WORTH_A_NOTE and settled and _signature(file.path) == before:
    files.write_text(note, content)
  return content


def local_copy(file: TextFile, cache_dir: str) -> Path:
  """Where the content of a file can be read, decompressed.

  Raises:
    UserError: a file that is unreadable, truncated or not compressed as its
      name tells, or a disk that is full.
  """
  if file.filesystem is None and not file.compression:
    return Path(file.path)
  version = [file.path, fingerprint(file, cache_dir)]
  folder = cache.root(cache_dir) / 'files' / tree.digest(version)
  try:
    cache.build_once(folder, lambda partial: _fetch(file, partial))
  except OSError as error:
    if error.errno != errno.ENOSPC:
      raise
    raise UserError(
      f'{folder.parent} is on a full disk, and {file.path} must be copied '
      'there: point data.cache_dir to another'
    ) from error
  return folder / _CONTENT


def read_part(path: str, start: int, size: int, version: str) -> bytes:
  """Reads `size` bytes from `start` on; the files read last stay open.

  Args:
    path: of a local file.
    start: the first byte.
    size: bytes, at most 2^31 - 4096.
    version: a file of another version is opened anew.
  """
  return _open_file(path, version).read(start, size)


def one_line(error: BaseException) -> str:
  """What an exception tells, on one line that is not endless."""
  return ' '.join(str(error).split())[:_LONGEST] or type(error).__name__


class _OpenFile:
  """A file that threads read side by side, closed by the last to let go."""

  def __init__(self, descriptor: int):
    self._descriptor = descriptor

  def __del__(self) -> None:
    os.close(self._descriptor)

  def read(self, start: int, size: int) -> bytes:
    return os.pread(self._descriptor, size, start)


@functools.lru_cache(maxsize=_OPEN_FILES)
def _open_file(path: str, version: str) -> _OpenFile:
  del version  # another one is another file
  return _OpenFile(os.open(path, os.O_RDONLY))


def _find_local(pattern: str, base: str) -> list[TextFile]:
  root = Path(_fixed_part(_absolute(base)))
  paths = sorted(glob.glob(_absolute(pattern), recursive=True))
  return [
    TextFile(path, Path(path).relative_to(root).as_posix(), *_suffixes(path))
    for path in paths
    if not os.path.isdir(path)
  ]


def _find_remote(pattern: str, base: str) -> list[TextFile]:
  try:
    filesystem, inner = fsspec.core.url_to_fs(pattern)
    _, inner_base = fsspec.core.url_to_fs(base)
    if isinstance(filesystem, LocalFileSystem):
      return _find_local(inner, inner_base)
    filesystem.invalidate_cache()
    found = filesystem.glob(inner, detail=True)
  except FileNotFoundError:
    return []
  except Exception as error:  # each file system raises its own
    raise UserError(f'files:{pattern}: {one_line(error)}') from error
  root = _fixed_part(inner_base)
  return [
    TextFile(
      filesystem.unstrip_protocol(path),
      path.removeprefix(root).lstrip('/'),
      *_suffixes(path),
      filesystem,
      path,
      found[path],
    )
    for path in sorted(found)
    if found[path]['type'] == 'file'
  ]


def _absolute(pattern: str) -> str:
  return str(Path(pattern).expanduser().absolute())


def _fixed_part(pattern: str) -> str:
  """The folder before the first wildcard."""
  parts = pattern.split('/')
  fixed = 0
  while fixed < len(parts) - 1 and not glob.has_magic(parts[fixed]):
    fixed += 1
  return '/'.join(parts[:fixed]) or '/'


def _suffixes(path: str) -> tuple[str, str]:
  """(suffix, compression) of a path."""
  stem, suffix = os.path.splitext(path)
  if suffix in _COMPRESSIONS:
    return os.path.splitext(stem)[1], _COMPRESSIONS[suffix]
  return suffix, ''


def _check_name(path: str) -> None:
  try:
    path.encode()
  except UnicodeEncodeError as error:  # Python has surrogates for such bytes
    raise UserError(f'the name {path!a} is not UTF-8; rename it') from error


def _stat(path: str) -> os.stat_result:
  try:
    return os.stat(path)
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}') from error


def _signature(path: str) -> list[Any]:
  """[path, size, time of writing, time of change, inode]."""
  stat = _stat(path)
  return [path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _sha256(path: str) -> str:
  try:
    with open(path, 'rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}') from error


def _remote_version(file: TextFile) -> str:
  """Size and the file system's own digest, or else all that it tells."""
  try:
    return (
      _identity(file.info)
      or _identity(file.filesystem.info(file.inner))
      or file.filesystem.ukey(file.inner)
    )
  except Exception as error:  # each file system raises its own
    raise UserError(f'{file.path}: {one_line(error)}') from error


def _identity(info: Mapping[str, Any]) -> str:
  for key in _IDENTITIES:
    if info.get(key):
      return tree.digest([info.get('size'), key, str(info[key])])
  return ''


def _fetch(file: TextFile, folder: Path) -> dict[str, Any]:
  size = 0
  with (
    open(folder / _CONTENT, 'wb') as target,
    tqdm.tqdm(
      desc=f'copying {os.path.basename(file.path)}',
      unit='B',
      unit_scale=True,
      leave=False,
    ) as progress,
  ):
    for block in _blocks(file):
      target.write(block)
      size += len(block)
      progress.update(len(block))
  return {'path': file.path, 'bytes': size}


def _blocks(file: TextFile) -> Iterator[bytes]:
  """The content, decompressed."""
  try:
    filesystem = file.filesystem or LocalFileSystem()
    with (
      filesystem.open(file.inner or file.path, 'rb') as raw,
      pa.input_stream(raw, file.compression or None) as stream,
    ):
      while block := stream.read(_BLOCK):
        yield block
  except Exception as error:  # each file system raises its own
    raise UserError(_unreadable(file, error)) from error


def _unreadable(file: TextFile, error: Exception) -> str:
  if isinstance(error, OSError) and error.errno is not None:
    return f'{file.path} cannot be read: {error.strerror}'
  message = one_line(error)
  if file.compression and 'truncated' in message.lower():
    return f'{file.path} is truncated ({file.compression}): get it again'
  if file.compression and isinstance(error, OSError):
    return f'{file.path} is not valid {file.compression} ({message})'
  return f'{file.path} cannot be read: {message}'

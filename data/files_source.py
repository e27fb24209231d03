"""Text files as documents: whole files, lines of JSON, rows of Parquet.

An index of where each document lies is built once, while every document is
checked; from then on any of them is read alone.
"""

import codecs
import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tqdm
from pyarrow import parquet

from configs import tree
from configs.errors import UserError
from data import cache, fetch
from data.fetch import TextFile
from data.rows import Row, Rows
from data.source_spec import SourceSpec
from data.splits import SPLITS, split_of

log = logging.getLogger(__name__)

_WHOLE = ('.txt', '.md', '.py')
_LINES = ('.jsonl', '.json')
_TABLE = '.parquet'
_INDEX_VERSION = 1  # of what is written there, and of what is checked
# Where a document lies: number of the file; row group, in Parquet; first byte,
# or row of the group; bytes, or 0.
_PLACE_FORMAT = '<IIqq'
_PLACE = np.dtype('<u4,<u4,<i8,<i8')
_BATCH = 1024  # rows of Parquet checked at once
_BUFFER = 2**20  # bytes read ahead while lines are checked
_OPEN_GROUPS = 2  # row groups of Parquet that stay decoded

_TEXT_TYPES = (
  pa.types.is_string,
  pa.types.is_large_string,
  pa.types.is_string_view,
  pa.types.is_binary,
  pa.types.is_large_binary,
  pa.types.is_binary_view,
)

_Member = tuple[str, TextFile]  # split, or '' where a hash decides
_Found = tuple[str, int, int, int]  # key of the split; group, start, size


def open_splits(spec: SourceSpec, cache_dir: str) -> dict[str, Rows]:
  """Every document, by split, in the order of path and line.

  A document has 'text', the other fields of its line or row, and 'path',
  relative to the folder before the first wildcard, unless that is a field of
  its own. Without `spec.splits` its split follows from that path (and the
  number of the line or row) alone, so a folder may move, and more files may
  join it.

  Raises:
    UserError: no file, an unknown suffix, a file that is unreadable, empty or
      not UTF-8, a bad line, or a split left without a document.
  """
  members = _members(spec)
  folder, meta = _index(spec, cache_dir, members)
  counts = meta['documents']
  if not spec.splits and 0 in counts.values():
    split = next(s for s in SPLITS if not counts[s])
    raise UserError(
      f'files:{spec.name} has {sum(counts.values())} documents and none falls '
      f'into the {split} split: cut the text into more files or lines of .jsonl'
    )
  files = tuple(
    (str(fetch.local_copy(file, cache_dir)), file.relative, file.suffix)
    for _, file in members
  )
  return {
    split: Rows(
      _Reader(str(_places_file(folder, split)), files, spec.fields), count
    )
    for split, count in counts.items()
  }


def digest(spec: SourceSpec, cache_dir: str) -> str:
  """SHA-256 of the relative paths and contents of all files.

  What the file system tells of a remote file stands for its content. Splits
  that were named are part of it.

  Raises:
    UserError: no file, or one that is unreadable.
  """
  return _digest(spec, cache_dir, _members(spec))


def describe(spec: SourceSpec, cache_dir: str) -> dict[str, Any]:
  """Files, their bytes and formats, documents by split, rows left out."""
  members = _members(spec)
  _, meta = _index(spec, cache_dir, members)
  return {
    'files': len(members),
    'bytes': sum(file.size for _, file in members),
    'formats': sorted(
      {f'{f.suffix} {f.compression}'.strip() for _, f in members}
    ),
    'documents': meta['documents'],
    'blank_rows': meta['blank_rows'],
  }


@dataclasses.dataclass(frozen=True)
class _Reader:
  """Reads a document of one split: plain values, so it can be pickled."""

  places: str  # its path names the digest of the content
  files: Sequence[tuple[str, str, str]]  # path, relative path, suffix
  fields: Sequence[str]

  def __call__(self, index: int) -> Row:
    number, group, start, size = _open_places(self.places)[index].item()
    path, relative, suffix = self.files[number]
    try:
      if suffix in _WHOLE:
        content = Path(path).read_bytes()[start:]
        return {'path': relative, 'text': content.decode()}
      if suffix == _TABLE:
        table = _row_group(path, group, self.places)
        row = table.slice(start, 1).to_pylist()[0]
      else:
        line = fetch.read_part(path, start, size, self.places)
        row = json.loads(line.decode())
      text = _joined([row[field] for field in self.fields])
      # a lone surrogate is text to JSON and to no one else
      text = text.encode(errors='replace').decode()
      return {'path': relative, **row, 'text': text}
    except (OSError, ValueError, LookupError, TypeError) as error:
      raise UserError(
        f'{path} has changed since it was indexed '
        f'({fetch.one_line(error)}): start again'
      ) from error


@functools.lru_cache(maxsize=64)
def _open_places(path: str) -> np.ndarray:
  return np.memmap(path, _PLACE, 'r')


@functools.lru_cache(maxsize=_OPEN_GROUPS)
def _row_group(path: str, group: int, version: str) -> pa.Table:
  del version  # another one is another table
  with parquet.ParquetFile(path) as file:
    return file.read_row_group(group)


def _joined(values: Iterable[str | bytes | None]) -> str:
  """One text of the values of all fields; a null of Parquet is empty."""
  return '\n'.join(
    v.decode() if isinstance(v, bytes) else v or '' for v in values
  )


def _members(spec: SourceSpec) -> list[_Member]:
  if not spec.splits:
    members = [('', file) for file in fetch.find(spec.name)]
  else:
    members = [
      (split, file)
      for split, pattern in spec.splits
      for file in fetch.find(spec.name, pattern)
    ]
  splits: dict[str, str] = {}
  for split, file in members:
    if file.path in splits:
      raise UserError(
        f'{spec}: {file.path} is in both {splits[file.path]} and {split}'
      )
    splits[file.path] = split
    if file.suffix in (*_WHOLE, *_LINES):
      continue
    if file.suffix != _TABLE or file.compression:
      known = ', '.join((*_WHOLE, *_LINES, _TABLE))
      raise UserError(
        f'{file.path}: expected one of {known}, or .gz or .zst of the text '
        f'files; narrow files:{spec.name}'
      )
  return members


def _digest(
  spec: SourceSpec, cache_dir: str, members: Sequence[_Member]
) -> str:
  total = hashlib.sha256()
  for split, file in members:
    content = fetch.fingerprint(file, cache_dir)
    prefix = f'{split} ' if split else ''
    total.update(f'{prefix}{file.relative} {content}\n'.encode())
  return total.hexdigest()


def _index(
  spec: SourceSpec, cache_dir: str, members: Sequence[_Member]
) -> tuple[Path, dict[str, Any]]:
  """The folder of the index, which is built if it is not yet, and its meta."""
  content = _digest(spec, cache_dir, members)
  key = tree.digest([_INDEX_VERSION, spec.fields, content])
  folder = cache.root(cache_dir) / 'files' / f'index-{key}'

  def build(partial: Path) -> dict[str, Any]:
    return _build_index(partial, spec, cache_dir, members)

  return folder, cache.build_once(folder, build)


def _places_file(folder: Path, split: str) -> Path:
  return folder / f'{split}.places'


def _build_index(
  folder: Path,
  spec: SourceSpec,
  cache_dir: str,
  members: Sequence[_Member],
) -> dict[str, Any]:
  paths = [fetch.local_copy(file, cache_dir) for _, file in members]
  sizes = [path.stat().st_size for path in paths]
  blank_rows = 0
  with (
    contextlib.ExitStack() as stack,
    tqdm.tqdm(
      desc='indexing', total=sum(sizes), unit='B', unit_scale=True
    ) as progress,
  ):
    places = {
      split: stack.enter_context(open(_places_file(folder, split), 'wb'))
      for split in dict(spec.splits) or SPLITS
    }
    for number, (split, file) in enumerate(members):
      documents, left = 0, sizes[number]
      for found in _documents(file, paths[number], spec.fields):
        if found is None:
          blank_rows += 1
          continue
        key, group, start, size = found
        place = struct.pack(_PLACE_FORMAT, number, group, start, size)
        places[split or split_of(key)].write(place)
        documents += 1
        left -= size
        progress.update(size)
      if not documents:
        raise UserError(f'{file.path} is empty; remove it')
      progress.update(left)
    counts = {s: f.tell() // _PLACE.itemsize for s, f in places.items()}
  if blank_rows:
    log.warning('%s: %d rows without text are left out', spec, blank_rows)
  return {'documents': counts, 'blank_rows': blank_rows}


def _documents(
  file: TextFile, path: Path, fields: Sequence[str]
) -> Iterator[_Found | None]:
  """Checks each document; None stands for a row of Parquet without text."""
  try:
    if file.suffix in _WHOLE:
      yield from _whole(file, path)
    elif file.suffix in _LINES:
      yield from _lines(file, path, fields)
    else:
      yield from _rows(file, path, fields)
  except (OSError, pa.ArrowException) as error:
    if getattr(error, 'errno', None) is not None:
      raise UserError(
        f'{file.path} cannot be read: {error.strerror}'
      ) from error
    reason = fetch.one_line(error)
    raise UserError(f'{file.path} is not valid Parquet ({reason})') from error


def _whole(file: TextFile, path: Path) -> Iterator[_Found]:
  content = path.read_bytes()
  skipped = _mark(content)
  if not _is_blank(_decoded(content[skipped:], file, skipped)):
    yield file.relative, 0, skipped, len(content) - skipped


def _lines(
  file: TextFile, path: Path, fields: Sequence[str]
) -> Iterator[_Found]:
  start = 0
  with open(path, 'rb', _BUFFER) as lines:
    for number, line in enumerate(lines, start=1):
      if number == 1:
        start = _mark(line)
        line = line[start:]
      content = _decoded(line, file, start)
      if not _is_blank(content):
        _check_line(content, fields, f'{file.path}, line {number}')
        yield f'{file.relative}:{number}', 0, start, len(line)
      start += len(line)


def _rows(
  file: TextFile, path: Path, fields: Sequence[str]
) -> Iterator[_Found | None]:
  number = 0
  with parquet.ParquetFile(path) as table:
    _check_columns(table.schema_arrow, fields, file.path)
    for group in range(table.num_row_groups):
      start = 0
      for batch in table.iter_batches(
        _BATCH, row_groups=[group], columns=list(fields)
      ):
        for values in zip(*(batch.column(f) for f in fields), strict=True):
          number += 1
          if _is_blank(_row_text(values, f'{file.path}, row {number}')):
            yield None
          else:
            yield f'{file.relative}:{number}', group, start, 0
          start += 1


def _mark(content: bytes) -> int:
  """Bytes of the byte order mark at the start of a file."""
  return len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0


def _decoded(content: bytes, file: TextFile, start: int) -> str:
  try:
    return content.decode()
  except UnicodeDecodeError as error:
    raise UserError(
      f'{file.path} is not UTF-8 (byte {start + error.start}); convert it first'
    ) from error


def _is_blank(text: str) -> bool:
  return not text or text.isspace()


def _check_line(line: str, fields: Sequence[str], where: str) -> None:
  try:
    row = json.loads(line)
  except (ValueError, RecursionError) as error:
    reason = getattr(error, 'msg', str(error))
    raise UserError(f'{where}: not JSON ({reason})') from error
  if isinstance(row, dict):
    values = [row.get(field) for field in fields]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) == len(values) and not all(map(_is_blank, texts)):
      return
  raise UserError(f'{where}: {_complaint(row, fields)}')


def _complaint(row: Any, fields: Sequence[str]) -> str:
  wanted = ' and '.join(map(repr, fields))
  expected = f'expected an object with a non-empty {wanted}'
  if not isinstance(row, dict):
    return f'{expected}, not {type(row).__name__}'
  if all(field in row for field in fields):
    return expected
  return f'{expected}; it has {_names(row)}: name one by |text=FIELD'


def _check_columns(schema: pa.Schema, fields: Sequence[str], path: str) -> None:
  for field in fields:
    if field not in schema.names:
      raise UserError(
        f'{path} has no column {field!r}; it has {_names(schema.names)}: name '
        'one by |text=FIELD'
      )
    if schema.names.count(field) > 1:
      raise UserError(f'{path} has two columns {field!r}; rename one')
    kind = schema.field(field).type
    if pa.types.is_dictionary(kind):
      kind = kind.value_type
    if not any(is_kind(kind) for is_kind in _TEXT_TYPES):
      raise UserError(f'{path}: column {field!r} is {kind}, not text')


def _names(fields: Iterable[str]) -> str:
  return ', '.join(map(repr, fields)) or 'none'


def _row_text(values: Sequence[pa.Scalar], where: str) -> str:
  try:
    return _joined([value.as_py() for value in values])
  except UnicodeDecodeError as error:
    raise UserError(f'{where} is not UTF-8 (byte {error.start})') from error

"""Text files as documents: .txt, .md, .py, and .jsonl line by line."""

import glob
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data.splits import SPLITS, split_of

_WHOLE = ('.txt', '.md', '.py')
_LINES = '.jsonl'


def read_splits(pattern: str) -> dict[str, list[dict[str, Any]]]:
  """Reads every document, by split, in the order of path and line.

  A document is a mapping with 'text', and 'path' relative to the folder before
  the first wildcard. Of .jsonl, each line is a document whose other fields are
  kept. The split follows from that path (and the line's number) alone, so a
  folder may move, and more files may join it.

  Raises:
    UserError: no file, an unknown suffix, a file that is unreadable, empty or
      not UTF-8, a bad line, or a split left without a document.
  """
  root = _fixed_part(pattern)
  splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
  for path in _paths(pattern):
    relative = path.relative_to(root).as_posix()
    for key, document in _documents(path, relative):
      splits[split_of(key)].append({'path': relative, **document})
  for split, documents in splits.items():
    if not documents:
      count = sum(len(d) for d in splits.values())
      raise UserError(
        f'files:{pattern} has {count} documents and none falls into the '
        f'{split} split: cut the text into more files or lines of .jsonl'
      )
  return splits


def digest(pattern: str) -> str:
  """SHA-256 of the relative paths and contents of all files.

  Raises:
    UserError: no file, or one that is unreadable.
  """
  root = _fixed_part(pattern)
  total = hashlib.sha256()
  for path in _paths(pattern):
    content = hashlib.sha256(_read(path)).hexdigest()
    total.update(f'{path.relative_to(root).as_posix()} {content}\n'.encode())
  return total.hexdigest()


def _fixed_part(pattern: str) -> Path:
  """The folder before the first wildcard."""
  parts = Path(pattern).expanduser().absolute().parts
  fixed = 0
  while fixed < len(parts) - 1 and not glob.has_magic(parts[fixed]):
    fixed += 1
  return Path(*parts[:fixed])


def _paths(pattern: str) -> list[Path]:
  absolute = str(Path(pattern).expanduser().absolute())
  paths = [Path(p) for p in sorted(glob.glob(absolute, recursive=True))]
  paths = [path for path in paths if not path.is_dir()]
  if not paths:
    raise UserError(f'files:{pattern} matches no file')
  for path in paths:
    if path.suffix not in (*_WHOLE, _LINES):
      raise UserError(
        f'{path}: expected one of {", ".join((*_WHOLE, _LINES))}; narrow '
        f'files:{pattern}'
      )
  return paths


def _read(path: Path) -> bytes:
  try:
    return path.read_bytes()
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}') from error


def _documents(
  path: Path, relative: str
) -> Iterator[tuple[str, dict[str, Any]]]:
  """Yields (key of the split, document)."""
  try:
    content = _read(path).decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise UserError(
      f'{path} is not UTF-8 (byte {error.start}); convert it first'
    ) from error
  if not content.strip():
    raise UserError(f'{path} is empty; remove it')
  if path.suffix != _LINES:
    yield relative, {'text': content}
    return
  for number, line in enumerate(content.split('\n'), start=1):
    if line.strip():
      where = f'{path}, line {number}'
      yield f'{relative}:{number}', _parse_line(line, where)


def _parse_line(line: str, where: str) -> dict[str, Any]:
  try:
    row = json.loads(line)
  except json.JSONDecodeError as error:
    raise UserError(f'{where}: not JSON ({error.msg})') from error
  text = row.get('text') if isinstance(row, dict) else None
  if not isinstance(text, str) or not text.strip():
    raise UserError(f"{where}: expected an object with a non-empty 'text'")
  # a lone surrogate is text to JSON and to no one else
  return row | {'text': text.encode(errors='replace').decode()}

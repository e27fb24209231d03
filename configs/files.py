"""Files that are there whole or not at all."""

import json
import os
import pathlib
import tempfile
from typing import Any

from configs.errors import UserError


def check_writable(path: pathlib.Path | str, key: str) -> None:
  """Makes sure, before long work, that a file can be written at its end.

  Args:
    path: of the file; its folder is made.
    key: that names it.

  Raises:
    UserError: it cannot.
  """
  file = pathlib.Path(path)
  if not str(path) or file.is_dir():
    raise UserError(f'{key} = {str(path)!r}: expected a file')
  make_writable(file.parent, f'{key} = {str(path)!r}')


def make_writable(folder: pathlib.Path, told: str) -> None:
  """Makes a folder where it is missing, and sees that files can be made in it.

  Args:
    folder: that files will be written to.
    told: how an error begins, with the key and its value.

  Raises:
    UserError: it cannot be made, or written to.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    # Of no name, so that others who do the same are not in the way.
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise UserError(
      f'{told}: cannot be written to ({error.strerror}); name another'
    ) from error


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a file under a temporary name, syncs it, and renames it."""
  write_bytes(path, text.encode())


def write_bytes(path: pathlib.Path, content: bytes) -> None:
  """As `write_text`, for bytes."""
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
  try:
    with os.fdopen(handle, 'wb') as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
  except BaseException:
    os.unlink(temporary)
    raise


def write_json(path: pathlib.Path, tree: Any) -> None:
  """As `write_text`, for a JSON tree, indented."""
  write_text(path, json.dumps(tree, indent=2) + '\n')

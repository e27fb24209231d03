"""Files that are there whole or not at all."""

import json
import os
import pathlib
import tempfile
from typing import Any


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

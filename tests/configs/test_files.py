"""Files are there whole or not at all."""

import os

import pytest

from configs.files import write_bytes, write_json


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / 'a.json'
  write_json(path, {'a': 1})

  def fail(_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', fail)
  with pytest.raises(OSError, match='No space'):
    write_bytes(path, b'half')
  assert path.read_text() == '{\n  "a": 1\n}\n'
  assert list(tmp_path.iterdir()) == [path]

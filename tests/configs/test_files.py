"""Files are there whole or not at all."""

import os

import pytest

from configs.errors import UserError
from configs.files import check_writable, write_bytes, write_json


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


def test_what_cannot_be_written_is_told_by_its_key(tmp_path):
  check_writable(tmp_path / 'new' / 'a.json', 'out')
  assert not list((tmp_path / 'new').iterdir())
  (tmp_path / 'file').touch()
  for path, told in (
    ('', "out = '': expected a file"),
    (tmp_path, 'expected a file'),
    (tmp_path / 'file' / 'a.json', r"out = '.*/file/a\.json': cannot be writ"),
  ):
    with pytest.raises(UserError, match=told):
      check_writable(path, 'out')

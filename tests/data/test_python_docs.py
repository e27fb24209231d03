import dataclasses
import json

import pytest
import tensorflow_datasets as tfds

from configs.errors import UserError
from data import python_docs, python_text, sources


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  root = tmp_path_factory.mktemp('python_docs')
  path = python_docs.prepare('docstrings', root, ('tqdm', 'absl'))
  return root, path


def _read(path, split):
  builder = tfds.builder_from_directory(
    path / 'python_docs' / 'docstrings' / python_text.VERSION
  )
  return list(builder.as_data_source(split))


def test_python_docs_holds_what_was_extracted(prepared):
  _, path = prepared
  found = python_text.extract('docstrings', ('tqdm', 'absl'))
  for split in ('train', 'validation', 'test'):
    rows = {
      tuple(value.decode() for value in sorted_values(row))
      for row in _read(path, split)
    }
    expected = {
      tuple(sorted_values(dataclasses.asdict(d)))
      for d in found.documents
      if d.split == split
    }
    assert rows == expected
    assert len(rows) == sum(d.split == split for d in found.documents)


def sorted_values(row):
  return [row[key] for key in sorted(row)]


def test_python_docs_is_prepared_once(prepared, monkeypatch):
  root, path = prepared
  monkeypatch.setattr(python_text, 'extract', None)
  again = python_docs.prepare('docstrings', root, ('tqdm', 'absl'))
  assert again == path
  meta = json.loads((path / 'meta.json').read_text())
  assert set(meta['packages']) == {'tqdm', 'absl'}
  assert meta['files_skipped'] == 0


def test_other_versions_lie_elsewhere(prepared, monkeypatch):
  root, path = prepared
  version = python_text.importlib.metadata.version
  monkeypatch.setattr(
    python_text.importlib.metadata, 'version', lambda n: version(n) + '.1'
  )
  other = python_docs.prepare('docstrings', root, ('tqdm', 'absl'))
  assert other != path


def test_interrupted_leaves_nothing(tmp_path, monkeypatch):
  def interrupted(self, documents, split):
    yield from generate(self, documents[:3], 'train')
    raise KeyboardInterrupt

  generate = python_docs.PythonDocs._generate_examples
  monkeypatch.setattr(python_docs.PythonDocs, '_generate_examples', interrupted)
  with pytest.raises(KeyboardInterrupt):
    python_docs.prepare('docstrings', tmp_path, ('tqdm',))
  left = list((tmp_path / 'python_docs').iterdir())
  assert [path.suffix for path in left] == ['.lock']
  monkeypatch.undo()
  path = python_docs.prepare('docstrings', tmp_path, ('tqdm',))
  assert len(_read(path, 'train')) > 50


def test_as_a_source(prepared, monkeypatch):
  root, _ = prepared
  packages = ('tqdm', 'absl')
  prepare = python_docs.prepare
  monkeypatch.setattr(
    python_docs, 'prepare', lambda kind, root: prepare(kind, root, packages)
  )
  (spec,) = sources.parse('tfds:python_docs/docstrings')
  splits = sources.open_splits(spec, str(root))
  found = python_text.extract('docstrings', packages)
  assert {s: {row['text'] for row in rows} for s, rows in splits.items()} == {
    s: {d.text for d in found.documents if d.split == s} for s in splits
  }
  described = sources.describe(spec, str(root))
  assert set(described['packages']) == set(packages)
  assert described['files'] > 10


def test_its_identity_is_known_unprepared(tmp_path):
  (spec,) = sources.parse('tfds:python_docs/docstrings')
  first = sources.identity(spec, str(tmp_path))
  assert first == sources.identity(spec, str(tmp_path))
  (code,) = sources.parse('tfds:python_docs/code')
  assert sources.identity(code, str(tmp_path)) != first
  assert not list(tmp_path.iterdir())


def test_unknown_kind(tmp_path):
  (spec,) = sources.parse('tfds:python_docs/poems')
  with pytest.raises(UserError, match='choose from python_docs/docstrings'):
    sources.open_splits(spec, str(tmp_path))

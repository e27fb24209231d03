import dataclasses
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

from configs.errors import UserError
from data import python_text, sources, tfds_source
from data.config import DataConfig

SENTENCES = [f'Sentence number {i}, é.' for i in range(200)]


class TinyTopics(tfds.core.GeneratorBasedBuilder):
  """A foreign data set: one text field of another name, one split."""

  VERSION = tfds.core.Version('1.2.3')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'sentence': tfds.features.Text(),
          'topic': tfds.features.ClassLabel(names=['even', 'odd']),
          'weight': np.float32,
        }
      ),
    )

  def _split_generators(self, dl_manager):
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    for i, text in enumerate(SENTENCES):
      yield i, {'sentence': text, 'topic': i % 2, 'weight': i / 2}


class NeedsTensorflow(TinyTopics):
  """A builder that extracts archives."""

  def _split_generators(self, dl_manager):
    raise ImportError('No module named tensorflow')


class Unreachable(TinyTopics):
  """A builder whose server does not answer."""

  def _split_generators(self, dl_manager):
    raise ConnectionError('Max retries\nexceeded')


class TwoTexts(TinyTopics):
  """A data set of pairs."""

  def _info(self):
    features = {k: tfds.features.Text() for k in ('premise', 'hypothesis')}
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _generate_examples(self):
    yield 0, {'premise': 'a', 'hypothesis': 'b'}


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  root = tmp_path_factory.mktemp('python_docs')
  path = tfds_source.prepare_python_docs('docstrings', root, ('tqdm', 'absl'))
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
  again = tfds_source.prepare_python_docs('docstrings', root, ('tqdm', 'absl'))
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
  other = tfds_source.prepare_python_docs('docstrings', root, ('tqdm', 'absl'))
  assert other != path


def test_interrupted_leaves_nothing(tmp_path, monkeypatch):
  def interrupted(self, documents, split):
    yield from generate(self, documents[:3], 'train')
    raise KeyboardInterrupt

  generate = tfds_source.PythonDocs._generate_examples
  monkeypatch.setattr(tfds_source.PythonDocs, '_generate_examples', interrupted)
  with pytest.raises(KeyboardInterrupt):
    tfds_source.prepare_python_docs('docstrings', tmp_path, ('tqdm',))
  left = list((tmp_path / 'python_docs').iterdir())
  assert [path.suffix for path in left] == ['.lock']
  monkeypatch.undo()
  path = tfds_source.prepare_python_docs('docstrings', tmp_path, ('tqdm',))
  assert len(_read(path, 'train')) > 50


def test_unknown_kind(tmp_path):
  with pytest.raises(UserError, match='choose from python_docs/docstrings'):
    tfds_source.open_tfds('python_docs/poems', 'train', str(tmp_path))


def test_foreign_data_set(tmp_path):
  rows = tfds_source.open_tfds('tiny_topics', 'train', str(tmp_path))
  assert len(rows) == 200
  assert rows.label_names == {'topic': ('even', 'odd')}
  by_text = {row['text']: row for row in rows}
  assert set(by_text) == set(SENTENCES)
  row = by_text[SENTENCES[7]]
  assert row == {
    'sentence': SENTENCES[7],
    'text': SENTENCES[7],
    'topic': 1,
    'weight': 3.5,
  }
  assert rows[-1] == rows[199]
  assert rows[:2] == [rows[0], rows[1]]
  with pytest.raises(IndexError):
    rows[200]
  with pytest.raises(UserError, match="no split 'test'; it has train"):
    tfds_source.open_tfds('tiny_topics', 'test', str(tmp_path))


def test_train_lends_a_missing_split(tmp_path):
  config = DataConfig(
    source='tfds:tiny_topics',
    cache_dir=str(tmp_path),
    tokenizer='byte',
    vocab_size=257,
    sequence_length=8,
    batch_size=1,
    seed=0,
  )
  train, validation, test = (
    [row['text'] for row in sources.open_source(config, split)]
    for split in ('train', 'validation', 'test')
  )
  assert sorted(train + validation + test) == sorted(SENTENCES)
  assert 2 <= len(test) <= 20
  assert 2 <= len(validation) <= 20
  assert sources.identity(config) == sources.identity(config)


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('no_such_set', "TFDS has no data set 'no_such_set'"),
    ('needs_tensorflow', r'pip install -e .\[tf\]'),
    ('unreachable', 'could not be downloaded: Max retries exceeded'),
    ('two_texts', '2 text fields'),
    ('tiny_topics:9.9.9', 'tiny_topics:9.9.9'),
  ],
)
def test_what_cannot_be_opened(tmp_path, name, message):
  with pytest.raises(UserError, match=message) as caught:
    tfds_source.open_tfds(name, 'train', str(tmp_path))
  assert '\n' not in str(caught.value)


def test_legacy_builders_are_found():
  tfds_source._register_legacy('glue')
  assert 'glue' in tfds.list_builders(with_community_datasets=False)


def test_mocked_text_is_text():
  with tfds.testing.mock_data(num_examples=3):
    builder = tfds.builder('tiny_topics')
    rows = tfds_source.TfdsRows(
      builder.as_data_source('train'), builder.info.features, 'tiny_topics'
    )
    row = rows[0]
  assert isinstance(row['text'], str)
  assert row['topic'] in (0, 1) and isinstance(row['topic'], int)

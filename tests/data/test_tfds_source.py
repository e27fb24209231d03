import json
import pathlib
import pickle

import numpy as np
import pytest
import tensorflow_datasets as tfds

from configs.errors import UserError
from data import sources

SHARED = pathlib.Path(__file__).parents[2] / '../shared/data/tasks'
SENTENCES = [f'Sentence number {i}, é.' for i in range(200)]


class TinyTopics(tfds.core.GeneratorBasedBuilder):
  """A foreign data set: one text field of another name, two splits."""

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
    return {
      'train': self._generate_examples(0, 150),
      'unsupervised': self._generate_examples(150, 200),
    }

  def _generate_examples(self, first, last):
    for i in range(first, last):
      yield i, {'sentence': SENTENCES[i], 'topic': i % 2, 'weight': i / 2}


class NestedTexts(tfds.core.GeneratorBasedBuilder):
  """Texts within texts, and none called 'text'."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    features = tfds.features
    return tfds.core.DatasetInfo(
      builder=self,
      features=features.FeaturesDict(
        {
          'id': np.str_,
          'number': np.int32,
          'translation': features.Translation(languages=['de', 'en']),
          'answers': features.Sequence(
            {'text': features.Text(), 'start': np.int32}
          ),
          'question': {
            'stem': features.Text(),
            'topic': features.ClassLabel(names=['a', 'b']),
          },
        }
      ),
    )

  def _split_generators(self, dl_manager):
    names = ('train', 'validation', 'test')
    return {name: self._generate_examples(name) for name in names}

  def _generate_examples(self, split):
    yield (
      0,
      {
        'id': split,
        'number': 3,
        'translation': {'de': 'schön', 'en': 'fine'},
        'answers': {'text': ['one', 'two'], 'start': [1, 5]},
        'question': {'stem': 'what?', 'topic': 1},
      },
    )


class Sst2Tsv(tfds.core.GeneratorBasedBuilder):
  """SST-2 as it is on disk: a sentence and its label a line."""

  VERSION = tfds.core.Version('1.0.0')
  folder = SHARED / 'sst2'

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'sentence': tfds.features.Text(),
          'label': tfds.features.ClassLabel(names=['negative', 'positive']),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    files = {'train': 'train.tsv', 'validation': 'dev.tsv'}
    return {s: self._generate_examples(file) for s, file in files.items()}

  def _generate_examples(self, file):
    for i, (sentence, label) in enumerate(_table(self.folder / file)):
      yield i, {'sentence': sentence, 'label': int(label)}


def _table(path):
  return [line.split('\t') for line in path.read_text().splitlines()]


def _open(text, cache_dir):
  (spec,) = sources.parse(text)
  return sources.open_splits(spec, str(cache_dir))


def _texts(rows):
  return [row['text'] for row in rows]


def _fails(text, cache_dir):
  with pytest.raises(UserError) as caught:
    _open(text, cache_dir)
  assert '\n' not in str(caught.value)
  return str(caught.value)


@pytest.fixture(scope='module')
def cache_dir(tmp_path_factory):
  """Where small data sets are prepared once."""
  return tmp_path_factory.mktemp('cache')


def test_foreign_data_set(cache_dir):
  splits = _open('tfds:tiny_topics|train=train+unsupervised', cache_dir)
  rows = [row for split in splits.values() for row in split]
  assert {row['text']: row for row in rows} == {
    text: {'sentence': text, 'text': text, 'topic': i % 2, 'weight': i / 2}
    for i, text in enumerate(SENTENCES)
  }
  assert {type(value) for value in rows[0].values()} == {str, int, float}
  (spec,) = sources.parse('tfds:tiny_topics')
  described = sources.describe(spec, str(cache_dir))
  assert described['labels'] == {'topic': ['even', 'odd']}
  assert described['version'] == '1.2.3'
  assert json.loads(json.dumps(described)) == described


def test_rows_are_a_sequence_that_can_be_pickled(cache_dir):
  rows = _open('tfds:tiny_topics|validation=unsupervised', cache_dir)
  rows = rows['validation']
  assert len(rows) == 50
  assert rows[-1] == rows[49]
  assert rows[:2] == [rows[0], rows[1]]
  with pytest.raises(IndexError):
    rows[50]
  assert list(pickle.loads(pickle.dumps(rows))) == list(rows)


def test_slices_are_those_of_tfds(cache_dir):
  whole = _open('tfds:tiny_topics|test=unsupervised', cache_dir)['test']
  splits = _open(
    'tfds:tiny_topics|train=train[10:]+unsupervised[:20%]'
    '|validation=unsupervised[10:-5]|test=unsupervised[-5:]',
    cache_dir,
  )
  assert [len(rows) for rows in splits.values()] == [150, 35, 5]
  assert _texts(splits['validation']) == _texts(whole)[10:45]
  assert _texts(splits['test']) == _texts(whole)[45:]
  assert _texts(splits['train'])[140:] == _texts(whole)[:10]


def test_identity_follows_what_is_read(cache_dir):
  texts = (
    'tfds:tiny_topics',
    'tfds:tiny_topics|train=train[:99%]',
    'tfds:nested_texts|text=answers/text',
    'tfds:nested_texts|text=question/stem',
  )
  specs = [spec for text in texts for spec in sources.parse(text)]
  found = [sources.identity(spec, str(cache_dir)) for spec in specs]
  assert len(set(found)) == 4
  assert found == [sources.identity(spec, str(cache_dir)) for spec in specs]


@pytest.mark.parametrize(
  ('fields', 'text'),
  [
    ('translation/en', 'fine'),
    ('translation/de,translation/en', 'schön\nfine'),
    ('answers/text', 'one\ntwo'),
    ('id,question/stem,answers/text', 'train\nwhat?\none\ntwo'),
  ],
)
def test_fields(cache_dir, fields, text):
  (row,) = _open(f'tfds:nested_texts|text={fields}', cache_dir)['train']
  assert row['text'] == text
  assert row['number'] == 3
  assert row['translation'] == {'de': 'schön', 'en': 'fine'}
  assert row['answers'] == {'text': ['one', 'two'], 'start': [1, 5]}
  assert row['question'] == {'stem': 'what?', 'topic': 1}


_NESTED = 'answers/text, id, question/stem, translation/de, translation/en'


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('nested_texts', 'name it: tfds:nested_texts|text=FIELD, of ' + _NESTED),
    ('nested_texts|text=english', f"'english'; choose from {_NESTED}"),
    ('nested_texts|text=number', "no text field 'number'"),
    ('nested_texts|text=translation', "no text field 'translation'"),
    ('tiny_topics|test=dev', "'dev' is no split: it has train, unsupervised"),
    ('tiny_topics|test=train[', "'train[' is no split"),
    ('tiny_topics|test=train[900:]', "'train[900:]' is no split"),
    ('tiny_topics|test=unsupervised[:0]', 'holds no example'),
    ('tiny_topics|test=unsupervised[60%:40%]', 'holds no example'),
    ('tiny_topics|test=train[:5%]', 'train and test share examples'),
    (
      'tiny_topics|train=train[:50%]+unsupervised|validation=train[49%:]',
      'train and validation share examples',
    ),
  ],
)
def test_what_cannot_be_opened(cache_dir, text, message):
  assert message in _fails(f'tfds:{text}', cache_dir)


def test_formats_without_random_access(tmp_path, monkeypatch):
  builder = tfds.builder('tiny_topics', data_dir=tmp_path / 'tfds')
  builder.download_and_prepare(file_format='array_record')
  path = pathlib.Path(builder.data_dir) / 'dataset_info.json'
  info = path.read_text()
  assert '"array_record"' in info
  path.write_text(info.replace('"array_record"', '"tfrecord"'))
  message = _fails('tfds:tiny_topics', tmp_path)
  assert 'as tfrecord, which has no random access' in message


def test_a_version_is_part_of_the_name(cache_dir):
  named = _open('tfds:tiny_topics:1.2.3', cache_dir)
  assert _texts(named['test']) == _texts(
    _open('tfds:tiny_topics', cache_dir)['test']
  )


def test_a_builder_of_our_own_over_real_files(tmp_path_factory):
  if not Sst2Tsv.folder.exists():
    pytest.skip('SST-2 is not beside the repository')
  cache_dir = tmp_path_factory.mktemp('sst2')
  splits = _open('tfds:sst2_tsv|text=sentence', cache_dir)
  for names, file in (
    (('train', 'test'), 'train.tsv'),
    (('validation',), 'dev.tsv'),
  ):
    read = [(r['text'], str(r['label'])) for n in names for r in splits[n]]
    table = map(tuple, _table(Sst2Tsv.folder / file))
    assert sorted(read) == sorted(table)
  assert len(splits['train']) + len(splits['test']) == 6920
  assert len(splits['validation']) == 872
  assert 250 < len(splits['test']) < 450

import json
import pickle

import numpy as np
import pytest

from configs import datasets, mixtures
from configs.errors import UserError
from data import files_source, sources
from data.rows import Rows
from data.source_spec import SourceSpec
from data.splits import split_of


class Numbers:
  """A kind of source whose rows are their numbers."""

  def __init__(self, **sizes):
    self.sizes = sizes
    self.content = 'content'

  def open_splits(self, spec, cache_dir):
    return {s: Rows(_numbered, size) for s, size in self.sizes.items()}

  def digest(self, spec, cache_dir):
    return self.content

  def describe(self, spec, cache_dir):
    return {'cache_dir': cache_dir}


def _numbered(index):
  return {'text': str(index)}


@pytest.fixture
def opened(monkeypatch, tmp_path):
  def open_sizes(**sizes):
    kind = Numbers(**sizes)
    monkeypatch.setattr(sources, '_kind', lambda spec: kind)
    return sources.open_splits(SourceSpec('tfds', 'numbers'), str(tmp_path))

  return open_sizes


def _texts(rows):
  return [row['text'] for row in rows]


def test_whole_sources_are_as_they_are(opened):
  splits = opened(train=7, validation=3, test=2)
  assert list(splits) == ['train', 'validation', 'test']
  assert [len(rows) for rows in splits.values()] == [7, 3, 2]
  assert _texts(splits['train']) == [str(i) for i in range(7)]


def test_train_lends_what_is_missing(opened):
  size = 4000
  splits = opened(train=size)
  # the hash decides, row by row
  for split, rows in splits.items():
    expected = [str(i) for i in range(size) if split_of(str(i)) == split]
    assert _texts(rows) == expected
  # a binomial of 4,000 at 5%: within 4 standard deviations of 200
  for split in ('validation', 'test'):
    assert abs(len(splits[split]) - 200) < 4 * np.sqrt(4000 * 0.05 * 0.95)


def test_it_lends_no_more_than_that(opened):
  both, one = opened(train=4000), opened(train=4000, validation=5)
  assert len(one['validation']) == 5
  assert _texts(one['test']) == _texts(both['test'])
  assert len(one['train']) == 4000 - len(one['test'])


def test_rows_can_be_pickled_and_take_little_memory(opened):
  train = opened(train=4000)['train']
  train[0]
  copy = pickle.loads(pickle.dumps(train))
  assert list(copy) == list(train)
  assert len(pickle.dumps(train)) < 1000  # a path, and no places


def test_rows_are_hashed_once(opened, monkeypatch):
  first = opened(train=4000)
  monkeypatch.setattr(sources, '_CHUNK', 7)

  def fail(key):
    raise AssertionError(key)

  with monkeypatch.context() as patch:
    patch.setattr(sources, 'split_of', fail)
    again = opened(train=4000)
    with pytest.raises(AssertionError):
      opened(train=4001)
    with pytest.raises(AssertionError):
      opened(train=4000, test=1)
  assert {s: _texts(again[s]) for s in again} == {
    s: _texts(first[s]) for s in first
  }
  # however many are written at once
  more = opened(train=4001)
  assert split_of('4000') == 'train'
  assert _texts(more['train']) == [*_texts(first['train']), '4000']


@pytest.mark.parametrize(
  ('sizes', 'message'),
  [
    ({'test': 3}, 'has no train split, only test: name one, as in tfds:num'),
    ({'train': 5}, r'too few rows \(5\) to lend validation some'),
    ({'train': 5, 'validation': 1}, r'too few rows \(5\) to lend test some'),
  ],
)
def test_nothing_to_train_or_to_hold_out(opened, sizes, message):
  with pytest.raises(UserError, match=message) as caught:
    opened(**sizes)
  assert '\n' not in str(caught.value)


def test_identity(monkeypatch):
  kind = Numbers(train=3)
  monkeypatch.setattr(sources, '_kind', lambda spec: kind)
  first = sources.identity(SourceSpec('tfds', 'a'))
  assert first == sources.identity(SourceSpec('tfds', 'a'))
  assert first != sources.identity(SourceSpec('tfds', 'a', ('title',)))
  assert first != sources.identity(SourceSpec('files', 'a'))
  kind.content = 'other'
  assert first != sources.identity(SourceSpec('tfds', 'a'))


def test_describe(monkeypatch):
  monkeypatch.setattr(sources, '_kind', lambda spec: Numbers(train=3))
  (spec,) = sources.parse('c4|train=train[:9%]')
  assert sources.describe(spec, 'there') == {
    'source': 'tfds:c4/en|train=train[:9%]',
    'cache_dir': 'there',
    'licence': 'ODC-By-1.0',
  }


@pytest.mark.parametrize(
  ('text', 'licence'),
  [
    ('tfds:squad|text=question', 'CC-BY-SA-4.0'),
    ('files:pile/ArXiv/*.jsonl.zst', 'those of its parts'),
    ('files:squad', None),
    ('tfds:squadron', None),
  ],
)
def test_licences(monkeypatch, text, licence):
  kind = Numbers(train=3)
  monkeypatch.setattr(sources, '_kind', lambda spec: kind)
  (spec,) = sources.parse(text)
  assert sources.describe(spec).get('licence') == licence
  monkeypatch.setattr(
    kind, 'describe', lambda spec, cache_dir: {'licence': 'its own'}
  )
  assert sources.describe(spec)['licence'] == 'its own'


def test_every_preset_has_a_licence(monkeypatch):
  monkeypatch.setattr(sources, '_kind', lambda spec: Numbers(train=3))
  for name, row in (datasets.DATASETS | mixtures.MIXTURES).items():
    for spec in sources.parse(name):
      assert sources.describe(spec)['licence'] == row.licence


def test_published_weights():
  pile = sources.published_weights(' pile_by_set')
  assert len(pile) == len(sources.parse('pile_by_set'))
  # table 1 of Gao et al. 2020: Pile-CC first, Enron Emails last
  assert (pile[0], pile[-1]) == (18.11, 0.14)
  for text in ('c4', 'pile_by_set;c4', 'pile_by_set|text=raw', 'files:x'):
    assert sources.published_weights(text) == ()


@pytest.mark.parametrize('kind', sources.KINDS)
def test_every_kind_has_the_three_functions(kind):
  module = sources._kind(SourceSpec(kind, 'x'))
  assert module.__name__ == f'data.{kind}_source'
  for name in ('open_splits', 'digest', 'describe'):
    assert callable(getattr(module, name))


def test_presets_and_mixtures():
  assert sources.parse('squad') == (SourceSpec('tfds', 'squad', ('context',)),)
  assert len(sources.parse('pile_by_set')) == 22


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('gopher:x', "gopher:x: 'gopher' is no kind of source; choose from tfds, "),
    ('gopher:x', 'files, hf, or one of c4, wiki40b'),
    ('fineweb2', "'fineweb2' is not KIND:NAME, or one of c4, wiki40b"),
    ('fineweb2', 'glue/..., '),
  ],
)
def test_what_cannot_be_parsed(text, message):
  with pytest.raises(UserError) as caught:
    sources.parse(text)
  assert message in str(caught.value)
  assert '\n' not in str(caught.value)


def test_files_through_it(tmp_path):
  lines = [json.dumps({'text': f'line {i}', 'n': i}) for i in range(200)]
  (tmp_path / 'x.jsonl').write_text('\n'.join(lines))
  (spec,) = sources.parse(f'files:{tmp_path}/*.jsonl')
  cache = str(tmp_path / 'cache')
  splits = sources.open_splits(spec, cache)
  rows = [row for split in splits.values() for row in split]
  assert sorted(row['n'] for row in rows) == list(range(200))
  assert files_source.digest(spec, cache)
  assert sources.identity(spec, cache) == sources.identity(spec, cache)
  assert sources.describe(spec, cache)['source'] == str(spec)

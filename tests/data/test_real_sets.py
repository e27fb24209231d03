"""Published sets, read as their publishers lay them out."""

import pathlib

import pytest

from configs.datasets import DATASETS
from data import sources

SHARED = pathlib.Path(__file__).parents[3] / 'shared' / 'data'


def _rows(source, cache_dir):
  (spec,) = sources.parse(source)
  splits = sources.open_splits(spec, str(cache_dir))
  return [row for rows in splits.values() for row in rows]


@pytest.fixture(scope='module')
def tasks():
  folder = SHARED / 'tasks'
  if not folder.is_dir():
    pytest.skip(f'{folder} is not there')
  return folder


def test_piqa(tasks, tmp_path):
  rows = _rows(f'files:{tasks}/piqa/valid.jsonl|text=goal,sol2', tmp_path)
  assert len(rows) == 1838  # Bisk et al. 2020, table 2
  for row in rows:
    assert row['text'] == f'{row["goal"]}\n{row["sol2"]}'
  labels_apart = {'label'}  # in a file of their own
  assert set(DATASETS['piqa'].fields) - labels_apart <= rows[0].keys()


def test_blimp(tasks, tmp_path):
  rows = _rows(f'files:{tasks}/blimp/*.jsonl|text=sentence_good', tmp_path)
  by_paradigm = {}
  for row in rows:
    by_paradigm.setdefault(row['UID'], []).append(row)
  assert len(by_paradigm) == 22
  for paradigm, own in by_paradigm.items():
    assert len(own) == 1000  # Warstadt et al. 2020
    assert set(DATASETS[f'blimp/{paradigm}'].fields) <= own[0].keys()
    assert own[0]['text'] == own[0]['sentence_good']


def test_books(tmp_path):
  folder = SHARED / 'corpus'
  if not folder.is_dir():
    pytest.skip(f'{folder} is not there')
  rows = _rows(f'files:{folder}/**/*.txt', tmp_path)
  paths = sorted(path.name for path in folder.rglob('*.txt'))
  assert sorted(pathlib.Path(row['path']).name for row in rows) == paths
  (emma,) = (row['text'] for row in rows if row['path'].endswith('emma.txt'))
  assert 'Emma Woodhouse, handsome, clever, and rich' in emma

import logging

import numpy as np
import pytest

from configs.errors import UserError
from data import filters
from data.config import FilterConfig

WORDS = ('anchor', 'boat', 'gull', 'harbour', 'mast', 'rope', 'sail', 'tide')


def _text(seed, count=60):
  draw = np.random.default_rng(seed)
  return ' '.join(
    f'{draw.choice(WORDS)}{draw.integers(1000)}' for _ in range(count)
  )


def _near(text):
  """One word of sixty is another: a Jaccard of 51 / 61 of 5-grams."""
  words = text.split()
  words[30] = 'other'
  return ' '.join(words)


def _rows(texts):
  return [{'text': text} for text in texts]


TEXTS = [_text(seed) for seed in range(12)]
RAW = [
  {
    'train': _rows([*TEXTS[:4], TEXTS[1], _near(TEXTS[2])]),
    'validation': _rows([TEXTS[5], TEXTS[0]]),
    'test': _rows([TEXTS[6], _near(TEXTS[3])]),
  },
  {
    'train': _rows([TEXTS[7], TEXTS[3], _text(99, 5) + ' ' + TEXTS[8]]),
    'validation': _rows([TEXTS[9]]),
    'test': _rows([' '.join(TEXTS[8].split()[:40]), TEXTS[10]]),
  },
]


def _kept(config):
  kept, reports = filters.run(config, RAW)
  for indices in kept:
    for split in indices:
      indices[split] = indices[split].tolist()
  return kept, {(r.filter, r.split): r for r in reports}


ALL = [
  {'train': [0, 1, 2, 3, 4, 5], 'validation': [0, 1], 'test': [0, 1]},
  {'train': [0, 1, 2], 'validation': [0], 'test': [0, 1]},
]


def test_nothing_is_left_out_unasked():
  kept, reports = _kept(FilterConfig())
  assert kept == ALL
  assert not reports


def test_equal_documents_over_all_sources(caplog):
  caplog.set_level(logging.INFO)
  kept, reports = _kept(FilterConfig(exact_duplicates=True))
  assert kept[0]['train'] == [0, 1, 2, 3, 5]
  assert kept[1]['train'] == [0, 2]
  report = reports['exact_duplicates', 'train']
  assert (report.before, report.after) == (9, 7)
  assert report.examples == (TEXTS[1][:200], TEXTS[3][:200])
  assert '2 of 9 documents of train left out' in caplog.text


def test_near_documents():
  kept, reports = _kept(FilterConfig(near_duplicates=0.8))
  assert kept[0]['train'] == [0, 1, 2, 3]
  assert kept[1]['train'] == [0, 2]
  assert reports['near_duplicates', 'train'].details == {'repeats': 3}


def test_evaluations_lose_what_training_has():
  kept, reports = _kept(FilterConfig(decontaminate='evals'))
  assert kept[0] == {**ALL[0], 'validation': [0], 'test': [0]}
  assert kept[1] == {**ALL[1], 'test': [1]}
  assert reports['decontaminate', 'validation'].details == {
    'exact': 1,
    'near': 1,
    'ngram': 1,
  }
  test = reports['decontaminate', 'test']
  assert (test.before, test.after) == (4, 2)
  assert test.details['exact'] == 0
  assert test.details['ngram'] >= 1


def test_or_training_loses_it():
  kept, reports = _kept(FilterConfig(decontaminate='train'))
  assert kept[0] == {**ALL[0], 'train': [1, 2, 4, 5]}
  assert kept[1]['validation'] == [0]
  assert kept[1]['train'] == [0, 2]  # TEXTS[8]: 40 of 65 words
  assert reports['decontaminate', 'train'].details == {'leaks': 3}


def test_filters_act_one_after_the_other():
  config = FilterConfig(exact_duplicates=True, decontaminate='train')
  kept, reports = _kept(config)
  assert kept[0]['train'] == [1, 2, 5]
  assert reports['decontaminate', 'train'].before == 7


def test_documents_are_kept_as_they_are_or_scrubbed():
  rows = _rows(['a', 'Write to jane.doe@harbour.org now.', 'c'])
  same = filters.keep(FilterConfig(), rows, np.arange(3))
  assert same is rows
  some = filters.keep(FilterConfig(), rows, np.array([0, 2]))
  assert [row['text'] for row in some] == ['a', 'c']
  clean = filters.keep(FilterConfig(scrub=True), rows, np.array([1]))
  assert clean[0]['text'] == 'Write to <EMAIL> now.'
  assert 'jane' in rows[1]['text']


def test_rules_of_quality():
  raw = [
    {
      'train': _rows(['too short', ' '.join(TEXTS)]),
      'validation': _rows(['too short']),
      'test': _rows(['x']),
    }
  ]
  config = FilterConfig(quality=('gopher_words',))
  kept, (report,) = filters.run(config, raw)
  assert kept[0]['train'].tolist() == [1]
  assert kept[0]['validation'].tolist() == [0]
  assert report.details == {'gopher_words': 1}
  with pytest.raises(UserError, match=r'data\.filters\.quality'):
    FilterConfig(quality=('nice',)).validate()


def test_a_report_is_plain():
  _, reports = _kept(FilterConfig(near_duplicates=0.8))
  tree = reports['near_duplicates', 'train'].as_json()
  assert set(tree) == {
    'filter',
    'split',
    'before',
    'after',
    'details',
    'examples',
  }

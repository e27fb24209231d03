import json

from data.contamination import find_contamination
from data.contamination_report import report


def letters(text):
  return ' '.join(text)


TRAIN = [letters('abcdefghijklmnopqrst'), 'Some other text, of six words.']
EVALUATION = [
  letters('0123456789ABCDEF'),
  'Some  other text, of six words.',  # equal
  letters('ABCDEFGHIJKLMNOPQRST'),  # equal but for case
  letters('abcdefghijklmnopqrs'),  # 15 of 16 shingles
  letters('ghijklmnopqrst'),  # all of its 13-grams, 10 of 16 shingles
  letters('12cdefghijklmno'),  # one of three 13-grams
  'no',
]


def test_counts_and_examples():
  found, _ = find_contamination(TRAIN, {'tests': EVALUATION})
  told = report('tests', EVALUATION, found['tests'], n=13)
  assert (told.num_exact, told.num_near, told.num_ngram) == (1, 3, 3)
  assert (told.num_texts, told.num_any_ngram, told.num_untold) == (7, 4, 2)
  assert told.num_contaminated == 4
  assert told.share == 4 / 7
  assert [(e.kind, e.index, e.train_index) for e in told.examples] == [
    ('exact', 1, 1),
    ('near', 2, 0),
    ('near', 3, 0),
    ('ngram', 4, 0),
  ]
  assert [e.jaccard for e in told.examples] == [1, 1, 15 / 16, None]
  assert told.examples[-1].gram == letters('ghijklmnopqrs')
  assert told.examples[-1].share == 1
  assert told.examples[0].gram is None


def test_gate_and_number_of_examples():
  found, _ = find_contamination(TRAIN, {'tests': EVALUATION})
  told = report('tests', EVALUATION, found['tests'], n=13, share=0.3)
  assert (told.num_ngram, told.num_contaminated) == (4, 5)
  last = told.examples[-1]
  assert (last.index, last.gram) == (5, letters('cdefghijklmno'))
  few = report('tests', EVALUATION, found['tests'], n=13, num_examples=1)
  assert [e.kind for e in few.examples] == ['exact', 'near', 'ngram']
  assert few.num_near == 3


def test_json():
  found, _ = find_contamination(TRAIN, {'tests': EVALUATION})
  told = report('tests', EVALUATION, found['tests'], n=13).as_json()
  assert json.loads(json.dumps(told, allow_nan=False))['share'] == 4 / 7
  assert set(told['examples'][0]) == {
    'kind',
    'index',
    'train_index',
    'jaccard',
    'share',
    'gram',
  }
  found, _ = find_contamination(TRAIN, {'none': []})
  assert report('none', [], found['none'], n=13).share == 0

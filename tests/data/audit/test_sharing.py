import numpy as np

from data.audit import sharing

WORDS = ('anchor', 'boat', 'gull', 'harbour', 'mast', 'rope', 'sail', 'tide')


def _text(seed, count=60):
  draw = np.random.default_rng(seed)
  return ' '.join(
    f'{draw.choice(WORDS)}{draw.integers(1000)}' for _ in range(count)
  )


def _rows(*texts):
  return [{'text': text} for text in texts]


def _near(text):
  return text.replace(text.split()[30], 'other')


def test_repeats_are_counted_and_shown():
  train = _rows(_text(0), _text(1), _text(0), _near(_text(1)), _text(2))
  found = sharing.repeats(train)
  assert found['documents'] == 5
  assert found['equal to an earlier one'] == 1
  assert found['near to an earlier one'] == 2
  (example,) = found['examples']  # of those that are not equal
  assert example['document'] == _near(_text(1))[:200]
  assert example['near to'] == _text(1)[:200]


def test_evaluation_sets_are_told_apart():
  found = sharing.contamination(
    _rows(_text(0), _text(1), _text(2)),
    {'clean': _rows(_text(7)), 'leaky': _rows(_text(8), _near(_text(2)))},
  )
  counts = {told['name']: told['num_contaminated'] for told in found['sets']}
  assert counts == {'clean': 0, 'leaky': 1}

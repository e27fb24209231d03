import collections

import numpy as np
import pytest

from data import objectives
from data.objectives.base import ObjectiveConfig


@pytest.fixture(scope='module')
def ul2(vocabulary):
  return objectives.make(
    ObjectiveConfig(kind='ul2'), 'encoder_decoder', vocabulary, 0
  )


def _read(vocabulary, example):
  """Mode, tokens of noise, spans of noise."""
  names = {index: name for name, index in vocabulary.ids.items()}
  spans = sum(names.get(t, '').startswith('<ex') for t in example.source)
  noise = len(example.targets) - spans - 1
  return names[example.source[0]], noise, spans


def test_the_seven_of_the_paper(ul2, vocabulary, make_piece):
  # Tay et al. (2022), Table 1, of 512 tokens: a share of them is noise (rounded
  # to the even number), which divided by the mean is the number of spans.
  expected = [
    ('[R]', 77, 26),  # 3, 15%: 76.8 and 25.67
    ('[R]', 77, 10),  # 8, 15%: 9.63
    ('[X]', 256, 85),  # 3, 50%: 85.33
    ('[X]', 256, 32),  # 8, 50%
    ('[X]', 77, 1),  # 64, 15%: 1.2
    ('[X]', 256, 4),  # 64, 50%
  ]
  rng = np.random.default_rng(0)
  piece = make_piece(512)
  us = (np.arange(700) + 0.5) / 700
  examples = [ul2.example(piece, u, rng) for u in us]
  found = [_read(vocabulary, example) for example in examples]
  assert collections.Counter(found[:600]) == dict.fromkeys(expected, 100)
  # the last: no spans, but a prefix that may end anywhere
  assert {(mode, spans) for mode, _, spans in found[600:]} == {('[S]', 0)}
  ends = np.array([len(example.source) - 1 for example in examples[600:]])
  np.testing.assert_array_equal(ends, 1 + np.floor((us[:100] * 7) * 511))
  assert (examples[650].source[1:] == piece[: ends[50]]).all()
  assert (examples[650].targets == piece[ends[50] :]).all()


def test_mode_comes_before_the_separator(ul2, vocabulary, make_piece):
  rng = np.random.default_rng(0)
  for u in (0.1, 0.5, 0.9):
    example = ul2.example(make_piece(30), u, rng)
    assert example.source[1] == vocabulary.separator_id


def test_the_shortest_piece(ul2, vocabulary):
  rng = np.random.default_rng(0)
  piece = np.array([0, 0])
  for u, mode in ((0.1, '[R]'), (0.5, '[X]'), (0.95, '[S]')):
    example = ul2.example(piece, u, rng)
    assert example.source.tolist() == [vocabulary.ids[mode], 0]
    assert example.targets.tolist() == [0]


def test_the_largest_u(ul2):
  # 7 u must not be rounded to 7
  assert ul2.sizes(100, np.nextafter(1, 0)) == (1 + 99, 2)

import collections

import numpy as np
import pytest
from scipy import stats

from data.objectives.middle import Middle

PREFIX, SUFFIX, MIDDLE = 'PSM'


@pytest.fixture(scope='module')
def half(vocabulary):
  return Middle(0.5, vocabulary)


def _spell(vocabulary, tokens):
  """Letters for the marks, which no number is."""
  names = {
    vocabulary.ids['<|fim_prefix|>']: PREFIX,
    vocabulary.ids['<|fim_suffix|>']: SUFFIX,
    vocabulary.ids['<|fim_middle|>']: MIDDLE,
  }
  return [names.get(token, token) for token in tokens.tolist()]


def test_share_of_rearranged_pieces(half, vocabulary, make_piece):
  us = (np.arange(1000) + 0.5) / 1000
  rng = np.random.default_rng(0)
  for rate in (0.0, 0.3, 1.0):
    middle = Middle(rate, vocabulary)
    rearranged = 0
    for u in us:
      row = _spell(vocabulary, middle.example(make_piece(9), u, rng).tokens)
      assert (PREFIX in row) == (len(row) == 9 + 3) == (u < rate)
      rearranged += PREFIX in row
    assert rearranged == 1000 * rate


def test_the_others_are_causal(half, vocabulary):
  piece = np.array([0, 4, 5, 6])  # the document goes on
  example = half.example(piece, 0.5, np.random.default_rng(0))
  assert example.tokens.tolist() == [0, 4, 5]
  assert example.targets.tolist() == [4, 5, 6]
  assert example.weights.tolist() == [1, 1, 1]


def test_two_layouts_with_every_cut(half, vocabulary):
  # Two tokens have nine pairs of places to cut at, from 0 to 2: either order of
  # different places is the same cut. Both layouts are as likely. A cut at 0
  # looks alike in both.
  piece = np.array([0, 4, 5, 6])  # the document goes on
  shares = {
    (0, PREFIX, SUFFIX, 4, 5, MIDDLE): 1,
    # a cut at 0 and 1, or two at 1 in the second layout
    (0, PREFIX, SUFFIX, 5, MIDDLE, 4): 2 + 0.5,
    (0, PREFIX, SUFFIX, MIDDLE, 4, 5): 2 + 1 + 0.5,
    (0, PREFIX, 4, SUFFIX, 5, MIDDLE): 0.5,
    (0, PREFIX, 4, SUFFIX, MIDDLE, 5): 1,
    (0, PREFIX, 4, 5, SUFFIX, MIDDLE): 0.5,
  }
  rng = np.random.default_rng(1)
  counts = collections.Counter()
  for _ in range(9000):
    example = half.example(piece, 0.2, rng)
    counts[tuple(_spell(vocabulary, example.tokens))] += 1
    # the middle ends there, whatever follows in the document
    assert example.targets[-1] == vocabulary.separator_id
    assert example.weights.all()
  assert counts.keys() == shares.keys()
  assert sum(shares.values()) == 9
  found = [counts[row] for row in shares]
  expected = [1000 * share for share in shares.values()]
  assert stats.chisquare(found, expected).pvalue > 0.01


def test_a_piece_within_a_document(half, vocabulary, make_piece):
  piece = make_piece(20, begins=False)
  example = half.example(piece, 0.1, np.random.default_rng(0))
  assert _spell(vocabulary, example.tokens)[0] == PREFIX
  np.testing.assert_array_equal(half.original(example), piece[:-1])


@pytest.mark.parametrize('begins', [True, False])
def test_the_shortest_piece(half, vocabulary, make_piece, begins):
  piece = make_piece(1, begins=begins)
  example = half.example(piece, 0.1, np.random.default_rng(0))
  assert len(example.tokens) == 4
  assert half.original(example).tolist() == piece[:-1].tolist()

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data.objectives import masked
from data.objectives.masked import Masked

MASK = 999
STEADY = settings(
  derandomize=True, deadline=None, database=None, max_examples=150
)


def _chosen(objective, piece, seed=0):
  example = objective.example(piece, 0.0, np.random.default_rng(seed))
  return np.flatnonzero(example.weights)


@pytest.mark.parametrize(
  ('density', 'length', 'expected'),
  [
    (0.15, 128, 19),  # 127 beside the separator: 19.05
    (0.15, 512, 77),  # 76.65
    (0.4, 128, 51),  # 50.8
    (0.15, 31, 4),  # 4.5 is rounded to the even number
    (0.15, 2, 1),  # 0.15, but one at least
    (0.15, 1, 0),  # an empty document
  ],
)
def test_exactly_so_many(vocabulary, make_piece, density, length, expected):
  objective = Masked(density, False, vocabulary)
  for seed in range(20):
    assert len(_chosen(objective, make_piece(length, seed), seed)) == expected


@STEADY
@given(seed=st.integers(0, 2**32), whole_words=st.booleans())
def test_a_row_of_documents(vocabulary, make_piece, seed, whole_words):
  lengths = np.random.default_rng(seed).integers(1, 30, 5)
  row = np.concatenate(
    [make_piece(n, seed + i)[:-1] for i, n in enumerate(lengths)] + [[0]]
  )
  objective = Masked(0.3, whole_words, vocabulary)
  example = objective.example(row, 0.0, np.random.default_rng(seed))
  np.testing.assert_array_equal(example.targets, row[:-1])
  is_separator = row[:-1] == 0
  assert (example.weights[is_separator] == 0).all()
  assert (example.tokens[is_separator] == 0).all()
  unchosen = example.weights == 0
  np.testing.assert_array_equal(
    example.tokens[unchosen], example.targets[unchosen]
  )


def test_eighty_ten_ten(vocabulary):
  # what replaces a token can be told from what was there
  other = dataclasses.replace(
    vocabulary, ordinary=np.arange(300, 320, dtype=np.int32)
  )
  objective = Masked(0.5, False, other)
  piece = np.tile(np.arange(1, 251), 400)
  example = objective.example(piece, 0.0, np.random.default_rng(0))
  chosen = example.weights == 1
  tokens, targets = example.tokens[chosen], example.targets[chosen]
  replaced = tokens[(tokens != MASK) & (tokens != targets)]
  counts = {
    0.8: np.sum(tokens == MASK),
    0.1: len(replaced),
  }
  for share, count in counts.items():
    low, high = stats.binom.interval(1 - 1e-6, len(tokens), share)
    assert low <= count <= high
  low, high = stats.binom.interval(1 - 1e-6, len(tokens), 0.1)
  assert low <= np.sum(tokens == targets) <= high
  found = np.bincount(replaced - 300, minlength=20)
  assert len(found) == 20
  assert stats.chisquare(found).pvalue > 1e-4


def test_never_replaced_by_a_special_token(vocabulary, make_piece):
  objective = Masked(0.9, False, vocabulary)
  allowed = {MASK, *vocabulary.ordinary.tolist()}
  for seed in range(100):
    piece = make_piece(200, seed)
    example = objective.example(piece, 0.0, np.random.default_rng(seed))
    assert set(example.tokens[1:].tolist()) <= allowed


@pytest.mark.parametrize('whole_words', [False, True])
def test_all_places_are_alike(vocabulary, whole_words):
  objective = Masked(0.25, whole_words, vocabulary)
  piece = np.array([0, *[3, 4] * 8, 0])  # words of two tokens
  found = np.zeros(17)
  for seed in range(3000):
    found[_chosen(objective, piece, seed)] += 1
  assert found[0] == 0
  found = found[1::2] if whole_words else found[1:]
  # without replacement, counts vary less than a chi-square test expects
  assert stats.chisquare(found).pvalue > 1e-4


def test_whole_words_by_hand(vocabulary):
  objective = Masked(0.5, True, vocabulary)
  # The first token begins a word, though it is spelled as if it did not: 4 5 |
  # 6 | 9 10 11 | 12, in two documents. Of seven tokens 4 are chosen (3.5).
  piece = np.array([0, 4, 5, 6, 0, 10, 11, 12, 13, 0])
  words = [{1, 2}, {3}, {5, 6}, {7, 8}]
  seen = set()
  for seed in range(100):
    chosen = set(_chosen(objective, piece, seed).tolist())
    inside = [word for word in words if word & chosen]
    assert set().union(*inside) == chosen
    assert len(chosen) in (3, 4)
    seen.add(frozenset(chosen))
  assert len(seen) == 6


def test_one_long_word(vocabulary):
  objective = Masked(0.15, True, vocabulary)
  piece = np.array([0, 3, 4, 5, 7, 8, 6, 7, 8, 10, 11, 0])
  # 1.5 of ten tokens; neither word of five is so short, but one is chosen
  found = {tuple(_chosen(objective, piece, seed)) for seed in range(30)}
  assert found == {(1, 2, 3, 4, 5), (6, 7, 8, 9, 10)}


@STEADY
@given(
  lengths=st.lists(st.integers(1, 9), min_size=1, max_size=60),
  share=st.floats(0.01, 0.99),
  seed=st.integers(0, 2**32),
)
def test_words_as_bert_chooses_them(lengths, share, seed):
  count = max(1, round(share * sum(lengths)))
  chosen = masked._some_words(
    np.array(lengths), count, np.random.default_rng(seed)
  )
  # one word after the other; what would be too much is passed over
  turns = np.random.default_rng(seed).random(len(lengths))
  order = np.argsort(turns)
  expected, total = set(), 0
  for word in order.tolist():
    if total + lengths[word] <= count:
      expected.add(word)
      total += lengths[word]
  expected = expected or {int(order[0])}
  assert set(np.flatnonzero(chosen).tolist()) == expected

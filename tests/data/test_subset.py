import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from data.subset import nested_subset

LENGTHS = np.random.default_rng(0).integers(1, 300, 2000)
TOTAL = int(LENGTHS.sum())


@settings(deadline=None, database=None, derandomize=True)
@given(
  smaller=st.integers(1, TOTAL),
  larger=st.integers(1, TOTAL),
  seed=st.integers(0, 5),
)
def test_smaller_subsets_are_parts_of_larger_ones(smaller, larger, seed):
  smaller, larger = sorted((smaller, larger))
  few = nested_subset(LENGTHS, smaller, seed)
  many = nested_subset(LENGTHS, larger, seed)
  assert set(few) <= set(many)


@pytest.mark.parametrize('num_tokens', [1, 777, 100_000, TOTAL - 1, TOTAL])
def test_no_document_too_many(num_tokens):
  chosen = nested_subset(LENGTHS, num_tokens, seed=3)
  assert chosen.dtype == np.int64
  assert (np.diff(chosen) > 0).all()
  there = LENGTHS[chosen].sum()
  # the last of the order is the only one that the budget could do without
  assert num_tokens <= there < num_tokens + LENGTHS[chosen].max()
  fewer = nested_subset(LENGTHS, max(1, num_tokens - 300), seed=3)
  assert len(chosen) == 1 or len(fewer) < len(chosen)


def test_by_hand():
  # any two documents of three are the shortest prefix with 11 tokens
  chosen = nested_subset(np.array([10, 10, 10], np.uint16), 11, seed=0)
  assert len(chosen) == 2
  assert len(nested_subset(np.array([10, 10, 10]), 10, seed=0)) == 1


def test_all():
  np.testing.assert_array_equal(nested_subset(LENGTHS, 0, 0), range(2000))
  np.testing.assert_array_equal(nested_subset(LENGTHS, TOTAL, 0), range(2000))


def test_seeds_and_shares():
  """Each seed takes another, fair half."""
  halves = [nested_subset(LENGTHS, TOTAL // 2, seed) for seed in range(20)]
  assert len({tuple(half) for half in halves}) == 20
  # 20 x 2000 documents, taken or not: 5 standard deviations of a mean
  first = np.mean([(half < 1000).mean() for half in halves])
  assert abs(first - 0.5) < 5 * 0.5 / np.sqrt(20 * 1000)


def test_more_documents_behind_change_no_order():
  """However the text was read: the first ones keep their order."""
  grown = np.concatenate([LENGTHS, LENGTHS])
  first = nested_subset(LENGTHS, TOTAL // 3, seed=1)
  for num_tokens in range(TOTAL // 3, 2 * TOTAL, 5000):
    among = nested_subset(grown, num_tokens, seed=1)
    among = set(among[among < len(LENGTHS)])
    assert among <= set(first) or set(first) <= among


def test_lengths_beyond_32_bits():
  lengths = np.full(10, 2**31 - 1, np.int32)
  assert len(nested_subset(lengths, 5 * (2**31 - 1), seed=0)) == 5


@pytest.mark.parametrize(
  ('num_tokens', 'message'),
  [
    (TOTAL + 1, f'data.unique_tokens = {TOTAL + 1}: the text has {TOTAL}'),
    (-1, 'at least 0'),
  ],
)
def test_bad_budget(num_tokens, message):
  with pytest.raises(UserError, match=message):
    nested_subset(LENGTHS, num_tokens, seed=0)


def test_no_documents():
  with pytest.raises(UserError, match='has 0 tokens'):
    nested_subset(np.array([], int), 1, seed=0)

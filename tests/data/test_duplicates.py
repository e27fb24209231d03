import logging
import time

import numpy as np
import pytest
from scipy import sparse

from data import duplicates, shingles
from data.duplicates import exact_duplicates, near_duplicates


def test_exact_by_hand():
  texts = ['a b', 'A b', ' a\n\tb ', 'a b', 'ab', '', ' ', 'é', 'e\u0301']
  np.testing.assert_array_equal(
    exact_duplicates(texts), [0, 1, 0, 0, 4, 5, 5, 7, 7]
  )
  np.testing.assert_array_equal(
    exact_duplicates(iter(texts), normalized=False), [0, 1, 2, 0, 4, 5, 6, 7, 8]
  )
  assert exact_duplicates([]).tolist() == []
  assert exact_duplicates(['\ud800', '\ud800']).tolist() == [0, 0]


def test_exact_is_the_first_of_a_dictionary():
  rng = np.random.Generator(np.random.PCG64(0))
  texts = [f'text {i}' for i in rng.integers(0, 3000, 5000)]
  first = {}
  expected = [first.setdefault(text, i) for i, text in enumerate(texts)]
  found = exact_duplicates(texts)
  np.testing.assert_array_equal(found, expected)
  assert found.dtype == np.int64


def chain(rng, length):
  """Each text is near the next one, and not near the one after that."""
  words = [f'w{i}' for i in rng.integers(0, 10**6, 94)]
  texts = []
  for step in range(length):
    begin = 5 * step + 10  # 81 of 99 shingles stay, 0.818, then 76 of 104
    words[begin : begin + 5] = [f'v{i}' for i in rng.integers(0, 10**6, 5)]
    texts.append(' '.join(words))
  return texts


def corpus(seed=0):
  rng = np.random.Generator(np.random.PCG64(seed))
  texts = [text for _ in range(25) for text in chain(rng, 5)]
  texts += texts[:10]
  texts += [' '.join(f'u{i}' for i in rng.integers(0, 10**6, 40))] * 5
  texts += ['short', 'Short', 'short one', '', ' ']
  return [texts[i] for i in rng.permutation(len(texts))]


def brute_force(texts, threshold):
  """Parts of the graph of all pairs, by Python's sets."""
  sets = []
  for text in texts:
    words = text.lower().split()
    places = range(max(1, len(words) - 4))
    sets.append({tuple(words[i : i + 5]) for i in places})
  near = [
    [len(a & b) / len(a | b) >= threshold if a | b else True for b in sets]
    for a in sets
  ]
  graph = sparse.coo_array(np.array(near))
  _, part = sparse.csgraph.connected_components(graph, directed=False)
  first = {}
  return [first.setdefault(p, i) for i, p in enumerate(part)]


@pytest.mark.parametrize('threshold', [0.5, 0.8, 0.9, 1.0])
def test_clusters_are_those_of_all_pairs(threshold):
  texts = corpus()
  expected = brute_force(texts, threshold)
  np.testing.assert_array_equal(near_duplicates(texts, threshold), expected)


def test_clusters_reach_through_others():
  texts = chain(np.random.Generator(np.random.PCG64(3)), 5)
  assert near_duplicates(texts).tolist() == [0] * 5
  assert near_duplicates([texts[0], texts[2], texts[4]]).tolist() == [0, 1, 2]


def test_on_disk_as_in_memory(monkeypatch, tmp_path):
  texts = corpus(1)
  expected = near_duplicates(texts)
  assert len(np.unique(expected)) < len(texts) - 100
  monkeypatch.setattr(shingles, '_CHUNK', 3000)
  for memory in (0, 30_000):
    found = near_duplicates(iter(texts), memory=memory, folder=tmp_path)
    np.testing.assert_array_equal(found, expected)


@pytest.fixture
def compared(monkeypatch):
  """All pairs that are compared, as they come."""
  pairs = []

  def counted(a, index_a, b, index_b):
    pairs.extend(zip(index_a.tolist(), index_b.tolist(), strict=True))
    return shingles.jaccard(a, index_a, b, index_b)

  monkeypatch.setattr(duplicates, 'jaccard', counted)
  return pairs


def test_copies_are_not_compared(compared):
  texts = ['the same text of a few more words again'] * 1000
  texts += ['another text of a few more words', texts[0]]
  assert near_duplicates(texts).tolist() == [0] * 1000 + [1000, 0]
  assert compared == []


def just_below(count):
  """Texts with a similarity of 71 / 95 = 0.75 to each other."""
  rng = np.random.Generator(np.random.PCG64(6))
  shared = [f'b{i}' for i in range(75)]
  return [
    ' '.join([*shared, *(f'w{i}' for i in rng.integers(0, 10**9, 12))])
    for _ in range(count)
  ]


def test_no_pair_is_compared_twice(compared, caplog):
  assert near_duplicates(just_below(40)).tolist() == list(range(40))
  assert 0.8 * 780 < len(compared) <= 780  # .74^6 in each of 21 bands
  assert len(set(compared)) == len(compared)
  assert not caplog.records


def test_what_an_earlier_band_had_may_be_forgotten(monkeypatch, compared):
  monkeypatch.setattr(duplicates, '_REMEMBERED', 0)
  assert near_duplicates(just_below(40)).tolist() == list(range(40))
  assert len(set(compared)) < len(compared)


def test_texts_are_compared_with_few_heads(monkeypatch, compared, caplog):
  monkeypatch.setattr(duplicates, 'HEADS', 2)
  texts = just_below(300)
  with caplog.at_level(logging.WARNING):
    found = near_duplicates(texts)
  np.testing.assert_array_equal(found, np.arange(300))
  assert len(compared) <= 300 * 2 * 21
  (record,) = caplog.records
  assert 250 < record.args[0] < 300  # all but the heads, nearly
  assert record.args[1:] == (300, 2)


def test_the_bound_keeps_pairs_that_agree_elsewhere(monkeypatch):
  # copies of the last text differ from it in one word: most bands hold a
  # minimum of its own words, and there it is in a queue with them alone
  monkeypatch.setattr(duplicates, 'HEADS', 2)
  texts = just_below(200)
  texts.append(texts[-1].replace('b0 ', 'c0 '))
  assert near_duplicates(texts).tolist() == [*range(200), 199]


def test_time_is_not_that_of_all_pairs():
  begin = time.perf_counter()
  near_duplicates(just_below(3000))  # minutes, were they all compared
  assert time.perf_counter() - begin < 30


def test_nothing_is_like_it():
  rng = np.random.Generator(np.random.PCG64(5))
  words = [f'w{i}' for i in range(80)]
  texts = [' '.join(rng.permutation(words)) for _ in range(300)]
  np.testing.assert_array_equal(near_duplicates(texts), np.arange(300))
  assert near_duplicates([]).tolist() == []

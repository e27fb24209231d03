import logging

import numpy as np
import pytest

from configs.errors import UserError
from data import contamination, near_index, shingles
from data.contamination import find_contamination


def fresh(rng, count):
  return [f'w{i}' for i in rng.integers(0, 10**6, count)]


def planted():
  """Training texts and two evaluation sets; what is planted is in comments."""
  rng = np.random.Generator(np.random.PCG64(0))
  train = [fresh(rng, 100) for _ in range(40)]
  train[30] = list(train[7])
  joined = [' '.join(words) for words in train]
  first = [
    ' '.join(fresh(rng, 100)),
    '  ' + joined[7].replace(' ', '\n', 5),  # equal to texts 7 and 30
    ' '.join([*train[9][:95], *fresh(rng, 5)]),  # near text 9: 91 / 101
    ' '.join(fresh(rng, 30) + train[11][20:90]),  # 58 of 88 grams in 11
  ]
  second = [
    ' '.join(fresh(rng, 87) + train[12][:13]),  # one gram of 88
    joined[3].upper(),  # near text 3, not equal to it
    'too short',
  ]
  return joined, {'first': first, 'second': second}


def test_planted():
  train, evaluations = planted()
  found, leaks = find_contamination(iter(train), evaluations)
  assert list(found) == ['first', 'second']
  first, second = found.values()
  assert first.exact.tolist() == [-1, 7, -1, -1]
  assert first.near.tolist() == [-1, 7, 9, -1]
  np.testing.assert_allclose(first.jaccard, [0, 1, 91 / 101, 0])
  np.testing.assert_allclose(first.ngrams.share, [0, 1, 83 / 88, 58 / 88])
  assert first.ngrams.train.tolist() == [-1, 7, 9, 11]
  assert first.ngrams.place.tolist() == [-1, 0, 0, 30]
  assert second.exact.tolist() == [-1, -1, -1]
  assert second.near.tolist() == [-1, 3, -1]
  assert second.ngrams.num_found.tolist() == [1, 88, 0]

  assert np.flatnonzero(leaks.exact).tolist() == [7, 30]
  assert np.flatnonzero(leaks.jaccard).tolist() == [3, 7, 9, 30]
  assert leaks.jaccard[9] == 91 / 101
  covered = {3: 1, 7: 1, 9: 0.95, 11: 0.7, 12: 0.13, 30: 1}
  assert {i: leaks.covered[i] for i in np.flatnonzero(leaks.covered)} == covered


def test_what_counts():
  train, evaluations = planted()
  found, leaks = find_contamination(train, evaluations)
  kinds = found['first'].kinds(0.5)
  assert {kind: mask.tolist() for kind, mask in kinds.items()} == {
    'exact': [False, True, False, False],
    'near': [False, True, True, False],
    'ngram': [False, True, True, True],
  }
  assert found['first'].kinds(0.9)['ngram'].tolist() == [
    False,
    True,
    True,
    False,
  ]
  assert found['second'].kinds(0)['ngram'].tolist() == [True, True, False]
  assert np.flatnonzero(leaks.leaking(0.6)).tolist() == [3, 7, 9, 11, 30]
  assert np.flatnonzero(leaks.leaking(0.8)).tolist() == [3, 7, 9, 30]
  assert np.flatnonzero(leaks.leaking(0)).tolist() == [3, 7, 9, 11, 12, 30]


def test_without_what_leaks_nothing_is_found():
  train, evaluations = planted()
  _, leaks = find_contamination(train, evaluations)
  clean = [train[i] for i in np.flatnonzero(~leaks.leaking(0))]
  found, leaks = find_contamination(clean, evaluations)
  assert not leaks.leaking(0).any()
  assert not any(m.any() for f in found.values() for m in f.kinds(0).values())


def test_on_disk_and_in_chunks_as_at_once(monkeypatch, tmp_path):
  train, evaluations = planted()
  train += train[::-1]
  whole, all_leaks = find_contamination(train, evaluations)
  monkeypatch.setattr(shingles, '_CHUNK', 1500)
  parts, leaks = find_contamination(
    iter(train), evaluations, memory=0, folder=tmp_path
  )
  for one, other in zip(whole.values(), parts.values(), strict=True):
    np.testing.assert_array_equal(one.exact, other.exact)
    np.testing.assert_array_equal(one.near, other.near)
    np.testing.assert_array_equal(one.jaccard, other.jaccard)
    np.testing.assert_array_equal(one.ngrams.train, other.ngrams.train)
  np.testing.assert_array_equal(all_leaks.exact, leaks.exact)
  np.testing.assert_array_equal(all_leaks.jaccard, leaks.jaccard)
  np.testing.assert_array_equal(all_leaks.covered, leaks.covered)


def test_the_most_similar_text_is_told():
  rng = np.random.Generator(np.random.PCG64(1))
  words = fresh(rng, 100)
  train = [
    ' '.join([*words[:92], *fresh(rng, 8)]),
    ' '.join([*words[:98], *fresh(rng, 2)]),
    ' '.join([*words[:98], *fresh(rng, 2)]),
  ]
  found, _ = find_contamination(train, {'a': [' '.join(words)]})
  assert (found['a'].near[0], found['a'].jaccard[0]) == (1, 94 / 98)


def test_copies_on_both_sides():
  texts = ['no it is', *['yes it is.'] * 20_000]  # 4e8 pairs
  found, leaks = find_contamination(
    texts, {'a': texts[1:], 'b': ['Yes it is.']}
  )
  assert (found['a'].near == 1).all()
  assert (found['a'].jaccard == 1).all()
  assert (found['b'].near[0], found['b'].exact[0]) == (1, -1)
  assert leaks.jaccard.tolist() == [0] + [1] * 20_000


def test_what_is_not_compared_is_told_once(monkeypatch, caplog):
  rng = np.random.Generator(np.random.PCG64(2))
  words = fresh(rng, 100)
  texts = [' '.join([*words[:99], *fresh(rng, 1)]) for _ in range(30)]
  with caplog.at_level(logging.WARNING):
    found, leaks = find_contamination(texts, {'a': texts})
    assert not caplog.records
    assert found['a'].near.tolist() == list(range(30))
    monkeypatch.setattr(near_index, 'CANDIDATES', 5)
    monkeypatch.setattr(contamination, 'CANDIDATES', 5)
    monkeypatch.setattr(shingles, '_CHUNK', 1500)
    _, leaks = find_contamination(texts, {'a': texts})
  assert (leaks.jaccard > 0).all()
  (record,) = caplog.records
  assert 0 < record.args[0] <= 21 * 30 * 25
  assert record.args[1] == 5


def test_empty_sets_and_wrong_values():
  found, leaks = find_contamination(['some text'], {'none': []})
  assert len(found['none'].exact) == 0
  assert leaks.leaking().tolist() == [False]
  found, leaks = find_contamination([], {'one': ['some text']})
  assert found['one'].exact.tolist() == [-1]
  assert leaks.leaking().tolist() == []
  assert find_contamination(['some text'], {})[0] == {}
  with pytest.raises(UserError, match='threshold = 0'):
    find_contamination([], {}, threshold=0)
  with pytest.raises(UserError, match='n = 0'):
    find_contamination([], {}, n=0)

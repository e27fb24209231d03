import numpy as np
import pytest

from configs.errors import UserError
from data import minhash
from data.shingles import Ragged


def pairs(size, common, count, seed=0):
  """Pairs of random sets of `size`, which share `common` members."""
  rng = np.random.Generator(np.random.PCG64(seed))
  shape = (count, 2 * size - common)
  members = rng.integers(0, 2**64, shape, np.uint64)
  offsets = np.arange(count + 1) * size
  first, second = members[:, :size], members[:, size - common :]
  return Ragged(first.ravel(), offsets), Ragged(second.ravel(), offsets)


@pytest.mark.parametrize(
  ('threshold', 'expected'),
  [(0.5, (42, 3)), (0.8, (21, 6)), (0.9, (12, 10)), (1.0, (1, 128))],
)
def test_banding(threshold, expected):
  # by hand: 1 - (1 - .8^6)^21 = .9983, and 1 - (1 - .8^7)^18 = .9855 < .99
  assert minhash.banding(threshold) == expected


def test_banding_finds_pairs_at_every_threshold():
  for threshold in np.arange(0.05, 1, 0.01):
    bands, rows = minhash.banding(threshold)
    assert bands * rows <= 128
    assert 1 - (1 - threshold**rows) ** bands >= 0.99
  assert minhash.banding(0.001) == (128, 1)  # the best there is


@pytest.mark.parametrize('threshold', [0, -0.1, 1.01, float('nan')])
def test_banding_of_no_similarity(threshold):
  with pytest.raises(UserError, match=r'threshold = .*above 0 and at most 1'):
    minhash.banding(threshold)


@pytest.mark.parametrize(
  ('size', 'common'), [(3, 1), (9, 8), (60, 40), (2000, 1600)]
)
def test_minima_agree_as_often_as_jaccard_says(size, common):
  count = 4000 if size < 100 else 300
  first, second = (
    minhash.signatures(s, 128) for s in pairs(size, common, count)
  )
  similarity = common / (2 * size - common)
  agree = (first == second).mean(axis=0)  # of each pair, binomial / 128
  deviation = np.sqrt(similarity * (1 - similarity) / 128)
  assert abs(agree.mean() - similarity) < 5 * deviation / np.sqrt(count)
  np.testing.assert_allclose(agree.std(), deviation, rtol=0.15)


@pytest.mark.parametrize('common', [30, 40, 45, 50])
def test_candidates_follow_the_s_curve(common):
  size, count = 60, 4000
  first, second = (
    minhash.band_keys(sets, 21, 6) for sets in pairs(size, common, count)
  )
  similarity = common / (2 * size - common)
  expected = 1 - (1 - similarity**6) ** 21
  deviation = np.sqrt(expected * (1 - expected) / count)
  found = (first == second).any(axis=0).mean()
  assert abs(found - expected) < 5 * deviation

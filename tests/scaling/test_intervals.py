import numpy as np
import pytest
from scipy import stats

from scaling import intervals


def test_bca_agrees_with_scipy():
  """The mean of skewed data, as scipy.stats.bootstrap finds it."""
  rng = np.random.default_rng(0)
  data = rng.exponential(size=40)
  theirs = stats.bootstrap(
    (data,),
    np.mean,
    n_resamples=20000,
    confidence_level=0.9,
    method='BCa',
    rng=np.random.default_rng(1),
  )
  draws = data[rng.integers(40, size=(20000, 40))].mean(axis=1)
  jackknife = (np.sum(data) - data) / 39
  low, high = intervals.bca(
    draws[:, None], np.mean(data)[None], jackknife[:, None], 0.9
  )
  ours = (low[0], high[0])
  assert ours == pytest.approx(theirs.confidence_interval, rel=0.01)
  plain = intervals.percentile(draws[:, None], 0.9)[:, 0]
  # Skew to the right moves both ends up.
  assert low[0] > plain[0] and high[0] > plain[1]


def test_bca_of_draws_on_one_side_is_finite():
  ends = intervals.bca(np.ones((50, 1)), np.zeros(1), np.zeros((9, 1)), 0.9)
  assert np.all(np.isfinite(ends))

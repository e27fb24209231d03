import math

import numpy as np
import pytest
from scipy import stats

from configs.errors import UserError
from scaling.profile import profile
from scaling.ready import prepare


@pytest.fixture(scope='module')
def ready(truth, ladder):
  points = ladder(truth, 1e-4, np.random.default_rng(0))
  return prepare(points, 'chinchilla', delta=math.inf)


@pytest.mark.parametrize('name', ['alpha', 'E', 'A'])
def test_small_noise_gives_the_exact_t_interval(ready, name):
  """In the limit of small noise the law is linear."""
  problem, found = ready.problem, ready.found
  column = problem.law.params.index(name)
  jacobian = []
  for step in np.diag(found.params * 1e-6):
    up, down = (
      np.log(problem.law.predict(p, problem.points.columns))
      for p in (found.params + step, found.params - step)
    )
    jacobian.append((up - down) / (2 * np.max(step)))
  jacobian = np.stack(jacobian, axis=1)
  off = np.log(ready.fitted / problem.points.value)
  variance = np.sum(off**2) / (14 - 5)
  spread = np.sqrt(
    variance * np.linalg.inv(jacobian.T @ jacobian)[column, column]
  )
  half = stats.t.ppf(0.95, 14 - 5) * spread
  curve = profile(ready, name)
  value = found.params[column]
  assert (value - curve.lower, curve.upper - value) == pytest.approx(
    (half, half), rel=0.05
  )
  at = np.interp([curve.lower, curve.upper], curve.values, curve.statistic)
  assert at == pytest.approx([curve.threshold] * 2, rel=0.1)
  assert np.min(curve.statistic) == pytest.approx(0, abs=1e-3)


def test_an_open_side_has_no_end(ladder):
  points = ladder(
    np.array([2.0, 4.0, 4.0, 0.2, 0.2]), 0.1, np.random.default_rng(1)
  )
  curve = profile(prepare(points, 'chinchilla', delta=math.inf), 'beta')
  assert curve.upper is None


def test_mistakes_are_named(ready, truth, ladder):
  with pytest.raises(UserError, match="no parameter 'gamma': choose from E"):
    profile(ready, 'gamma')
  few = prepare(ladder(truth).take(range(9)), 'chinchilla')
  with pytest.raises(UserError, match='9 points for 5 parameters: too few'):
    profile(few, 'alpha')

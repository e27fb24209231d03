import numpy as np
import pytest

from scaling.fit import fit_law
from scaling.laws.direct import DIRECT, DIRECT_COMPUTE


def test_predict_by_hand():
  # b + (1 - b) exp(-(2 / 4^.5 + 3 / 9^.5)) = .5 + .5 e^-2
  at = {'params': [4.0], 'tokens': [9.0]}
  value = DIRECT.predict(np.array([2, 3, 0.5, 0.5, 0.5]), at)
  assert value == pytest.approx(0.5 + 0.5 * np.exp(-2))
  value = DIRECT_COMPUTE.predict(np.array([8, 0.5, 0.0]), {'flops': [16.0]})
  assert value == pytest.approx(np.exp(-2))


def test_no_budget_is_chance_and_every_budget_is_all_right():
  at = {'params': [1e-9, 1e60], 'tokens': [1e-9, 1e60]}
  assert DIRECT.predict(np.array([2, 3, 0.5, 0.5, 0.25]), at) == pytest.approx(
    [0.25, 1.0]
  )


def test_a_fixed_floor_is_kept_while_the_rest_is_found():
  n = np.repeat(np.geomspace(1e7, 1e9, 6), 3)
  d = n * np.tile([10, 20, 80], 6)
  truth = np.array([300.0, 40.0, 0.3, 0.18, 0.25])
  score = DIRECT.predict(truth, {'params': n, 'tokens': d})
  frame = {'params': n, 'tokens': d, 'score': score}
  fit = fit_law(frame, 'direct', fixed={'b': 0.25}, resamples=8)
  np.testing.assert_allclose(fit.params_P, truth, rtol=1e-3)
  assert fit.intervals['b'] == (0.25, 0.25)

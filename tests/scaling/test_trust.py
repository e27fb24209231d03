import math

import numpy as np
import pytest

from scaling import chinchilla, trust
from scaling.fit import fit_law

OPTIONS = {'delta': math.inf, 'resamples': 200}


def test_a_sound_fit_has_no_warning(truth, ladder):
  points = ladder(truth, 3e-4, np.random.default_rng(0))
  assert fit_law(points, **OPTIONS).warnings == ()


def test_noise_free_data_have_no_warning(truth, ladder):
  assert fit_law(ladder(truth), **OPTIONS).warnings == ()


def test_an_open_parameter_is_told(truth, ladder):
  points = ladder(truth, 0.02, np.random.default_rng(0))
  said = fit_law(points, **OPTIONS).warnings
  assert any(' is open: its interval ' in text for text in said)


def test_one_bad_run_is_told(truth, ladder):
  points = ladder(truth, 0.001, np.random.default_rng(0))
  points.value[7] *= 1.03
  said = fit_law(points, **OPTIONS).warnings
  assert any(
    text.startswith('N = 1.5e+05 at 1.6e+06 tokens is an outlier')
    for text in said
  ), said


def test_an_outlier_is_called_so_rarely(truth, ladder):
  """At a 1% level, 40 sound sets: more than 4 alarms have a chance of 1e-4."""
  rng = np.random.default_rng(1)
  alarms = 0
  for _ in range(40):
    points = ladder(truth, 0.003, rng)
    estimate = chinchilla.estimate(points, math.inf)
    said = trust.fit_warnings(chinchilla, points, estimate, math.inf, {}, 0.0)
    alarms += any('is an outlier' in text for text in said)
  assert alarms <= 4


@pytest.mark.parametrize('name', ['alpha', 'beta'])
def test_a_run_that_decides_a_parameter_is_told(truth, ladder, name):
  points = ladder(truth, 3e-4, np.random.default_rng(0))
  estimate = chinchilla.estimate(points, math.inf)
  column = chinchilla.PARAMS.index(name)
  value = estimate.params[column]
  narrow = {name: (value - 1e-9, value + 1e-9)}
  said = trust.fit_warnings(chinchilla, points, estimate, math.inf, narrow, 0.0)
  assert any(f' alone moves {name} from ' in text for text in said)


def test_repeated_rows_failed_refits_and_no_optimum_are_told(truth, ladder):
  points = ladder(truth).take([*range(14), 3])
  estimate = chinchilla.estimate(points)._replace(converged=False)
  said = trust.fit_warnings(chinchilla, points, estimate, 1e-3, {}, 0.05)
  assert 'rows that repeat another row and count twice: 1' in said
  assert '5.0% of the bootstrap refits failed; left out' in said
  assert any(text.startswith('the fit did not converge') for text in said)

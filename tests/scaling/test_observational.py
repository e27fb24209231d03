"""Observational laws on known capabilities, and on public models."""

import csv
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from scaling.fitted import fit_from_json
from scaling.observational import (
  capabilities,
  family_laws,
  fit_observational,
  predict,
  project,
)

DATA = Path(__file__).parents[2].parent / 'shared/data/scaling/obs_scaling'
CUTOFF = 84e21  # FLOPs of Llama-2 7B, the cutoff of Ruan et al.
public = pytest.mark.skipif(
  not DATA.is_dir(), reason='shared/data/scaling/obs_scaling is absent'
)


def known_scores(models=40, rank=1, noise=0.0, seed=0):
  """Scores [models, 6] of `rank` capabilities."""
  rng = np.random.default_rng(seed)
  size = np.array([1.0, 0.3, 0.1])[:rank]
  hidden = rng.standard_normal((models, rank)) * size
  scores = 0.5 + 0.1 * hidden @ rng.uniform(0.2, 1, (rank, 6))
  return scores + noise * rng.standard_normal(scores.shape)


def sigmoid(S, alpha, beta, floor=0.0):
  return floor + (1 - floor) / (1 + np.exp(-(alpha + S @ np.atleast_1d(beta))))


def test_components_are_eigenvectors_of_the_covariance():
  scores = known_scores(rank=3, noise=0.01)
  found = capabilities(scores, 2)
  values, vectors = np.linalg.eigh(np.cov(scores.T))
  assert found.explained == pytest.approx(values[::-1] / np.sum(values))
  for row in range(2):
    assert abs(found.loadings[row] @ vectors[:, -1 - row]) == pytest.approx(1)
    assert np.sum(found.loadings[row]) > 0
  assert np.cov(found.scores.T) == pytest.approx(
    np.diag(values[::-1][:2]), abs=1e-12
  )
  np.testing.assert_array_equal(found.imputed, scores)


def test_imputation_restores_a_rank_that_is_one():
  scores = known_scores()
  given = scores.copy()
  rng = np.random.default_rng(1)
  given[rng.integers(40, size=30), rng.integers(6, size=30)] = np.nan
  found = capabilities(given)
  assert found.imputed == pytest.approx(scores, abs=1e-6)
  assert found.explained[0] == pytest.approx(1, abs=1e-6)
  # Means of columns would have been this far off.
  means = np.where(np.isnan(given), np.nanmean(given, axis=0), given)
  assert np.max(np.abs(means - scores)) > 0.05


def test_project():
  scores = known_scores(rank=2, noise=0.005)
  found = capabilities(scores, 2)
  assert project(found, scores) == pytest.approx(found.scores)
  exact = capabilities(known_scores(rank=2), 2)
  given = known_scores(rank=2)[:5].copy()
  given[:, [1, 4]] = np.nan
  assert project(exact, given) == pytest.approx(exact.scores[:5])


def test_family_laws():
  flops = np.array([1e20, 1e21, 1e22, 1e20, 1e21, 1e22, 1e23, np.nan, 1e20])
  family = [*'aaabbbb', 'b', 'c']
  S = np.where(np.array(family) == 'a', 0.3, 0.2) * np.log(flops) - 10
  S[6] += 0.5
  laws = family_laws(S, flops, family)
  assert list(laws) == ['a', 'b']
  assert laws['a'][:3] == pytest.approx((0.3, -10, 1))
  assert laws['b'].n == 4
  x, y = np.log(flops[3:7]), S[3:7]
  assert laws['b'].r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


@pytest.mark.parametrize('floor', [0.0, 0.25])
def test_known_sigmoid(floor):
  S = np.random.default_rng(0).standard_normal((30, 2))
  value = sigmoid(S, -0.5, [1.5, -0.7], floor)
  fit = fit_observational(S, value, floor=floor, resamples=20)
  assert fit.params == pytest.approx(
    {'alpha': -0.5, 'beta_1': 1.5, 'beta_2': -0.7}, abs=1e-5
  )
  other = np.random.default_rng(1).standard_normal((5, 2))
  assert predict(fit, other) == pytest.approx(
    sigmoid(other, -0.5, [1.5, -0.7], floor), abs=1e-6
  )
  assert predict(fit_from_json(fit.to_json()), other) == pytest.approx(
    predict(fit, other)
  )


def test_units_do_not_matter():
  """Such as log FLOPs, far from zero."""
  S = np.random.default_rng(0).standard_normal(30)
  value = sigmoid(S[:, None], 0.2, 1.0)
  fit = fit_observational(3 * S + 50, value, resamples=20)
  assert fit.params['beta_1'] == pytest.approx(1 / 3, abs=1e-6)
  assert fit.params['alpha'] == pytest.approx(0.2 - 50 / 3, abs=1e-5)


def test_intervals_cover():
  covered = []
  for seed in range(40):
    rng = np.random.default_rng(seed)
    S = rng.standard_normal(40)
    value = sigmoid(S[:, None], 0.0, 1.0) + 0.03 * rng.standard_normal(40)
    fit = fit_observational(S, np.clip(value, 0, 1), resamples=100)
    low, high = fit.intervals['beta_1']
    covered.append(low < 1 < high)
  assert np.mean(covered) == pytest.approx(0.9, abs=0.15)


def test_families_widen_intervals():
  """Models of a family that share an offset are not so many facts."""
  rng = np.random.default_rng(0)
  family = np.repeat(np.arange(8), 6)
  S = rng.standard_normal(8)[family] + 0.1 * rng.standard_normal(48)
  off = 0.5 * rng.standard_normal(8)[family]
  value = sigmoid(S[:, None] + off[:, None], 0.0, 1.0)
  widths = [
    np.ptp(
      fit_observational(S, value, family=names, resamples=200).intervals[
        'alpha'
      ]
    )
    for names in (None, family.astype(str).tolist())
  ]
  assert widths[1] > 1.5 * widths[0]


def test_warnings():
  S = np.linspace(-3, -1, 8)
  value = sigmoid(S[:, None], 0.0, 1.0)
  (said,) = fit_observational(S, value, resamples=20).warnings
  assert 'half way up' in said
  few = fit_observational(S[:3], value[:3])
  assert '3 models for 2 parameters: no interval' in few.warnings[0]
  assert not few.intervals


@pytest.mark.parametrize(
  ('call', 'said'),
  [
    (lambda: capabilities(np.ones(4)), 'models, benchmarks'),
    (lambda: capabilities(known_scores(), 7), 'components = 7'),
    (lambda: capabilities(known_scores(), rank=0), 'rank = 0'),
    (lambda: capabilities(np.full((5, 3), np.nan)), 'benchmark 0'),
    (lambda: project(capabilities(known_scores()), np.ones((2, 5))), '6'),
    (
      lambda: project(capabilities(known_scores()), np.full((2, 6), np.nan)),
      'model 0 has 0 scores',
    ),
    (lambda: fit_observational(np.arange(9), np.ones(8)), '8 values'),
    (lambda: fit_observational(np.arange(9), np.full(9, 1.2)), 'shares'),
    (lambda: fit_observational(np.ones(9), np.ones(9)), 'the same'),
    (lambda: fit_observational(np.ones((2, 3)), np.ones(2)), 'add models'),
    (
      lambda: fit_observational(np.arange(9), np.ones(9), floor=1.0),
      'floor = 1.0',
    ),
  ],
)
def test_errors(call, said):
  with pytest.raises(UserError, match=said):
    call()


def read(name):
  with (DATA / name).open() as file:
    return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def models():
  rows = read('base_llm_benchmark_eval.csv')
  benchmarks = list(rows[0])[5:]
  number = np.array(
    [
      [float(row[name] or 'nan') for name in ('FLOPs (1E21)', *benchmarks)]
      for row in rows
    ]
  )
  return rows, number[:, 0] * 1e21, benchmarks, number[:, 1:]


@public
def test_public_models_have_a_low_rank(models):
  scores = models[-1]
  assert scores.shape == (148, 8)
  assert np.sum(np.isnan(scores), axis=0).tolist() == [0, 3, 0, 0, 0, 0, 16, 21]
  all_of_them = capabilities(scores).explained[:3]
  # The third is .0266 after two rounds of imputation, .0265 once it settles.
  assert all_of_them == pytest.approx([0.853, 0.094, 0.0265], abs=5e-4)
  first = capabilities(scores[:77]).explained[:3]
  assert first == pytest.approx([0.887, 0.078, 0.013], abs=5e-4)


@public
def test_families_are_log_linear(models):
  rows, flops, _, scores = models
  S = capabilities(scores).scores[:, 0]
  laws = family_laws(S, flops, [row['Model Family'] for row in rows])
  assert len(laws) == 23
  assert sum(law.r2 > 0.9 for law in laws.values()) == 18
  for name, r2 in (('StableLM', 0.075), ('OLMo', 0.51), ('OpenLlama', 0.70)):
    assert laws[name].r2 == pytest.approx(r2, abs=5e-3)
  assert all(law.w > 0 for law in laws.values() if law.r2 > 0.9)


@public
def test_strong_models_from_weak_ones(models):
  """GSM8K by chain of thought above the cutoff, from models below it.

  Nothing of the strong models but their other benchmarks is used: components,
  imputation and law are those of the weak ones, and GSM8K is no benchmark.
  """
  rows, flops, benchmarks, scores = models
  metric = {
    row['Model']: float(row['gsm8k_cot_8_exact_match,strict-match'])
    for row in read('base_llm_post_training_eval.csv')
    if row['gsm8k_cot_8_exact_match,strict-match']
  }
  taken = [
    i
    for i, row in enumerate(rows)
    if row['Model'] in metric and np.isfinite(flops[i])
  ]
  value = np.array([metric[rows[i]['Model']] for i in taken])
  weak = flops[taken] <= CUTOFF
  others = scores[taken][:, [name != 'GSM8K' for name in benchmarks]]
  assert (np.sum(weak), np.sum(~weak)) == (48, 34)

  def error(S):
    fit = fit_observational(S[weak], value[weak], resamples=20)
    return np.sqrt(np.mean((predict(fit, S[~weak]) - value[~weak]) ** 2))

  by_compute = error(np.log(flops[taken]))
  errors = []
  for components in (1, 2, 3):
    found = capabilities(others[weak], components)
    errors.append(error(project(found, others)))
  assert by_compute == pytest.approx(0.22, abs=0.01)
  assert np.array(errors) == pytest.approx([0.139, 0.109, 0.096], abs=2e-3)

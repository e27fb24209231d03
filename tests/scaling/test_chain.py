import numpy as np
import pytest

from configs.errors import UserError
from scaling import bootstrap
from scaling.chain import fit_chain, forecast_chain
from scaling.points import Points

N, D = 1.58e6, 6.4e6
AT = {'params': N, 'tokens': D}
LINK = np.array([0.6, -3.0, 3.0, 0.25])


def rate(loss):
  a, k, x0, b = LINK
  return a / (1 + np.exp(-k * (loss - x0))) + b


@pytest.fixture(scope='module')
def both(truth, ladder):
  """A ladder whose scores miss their law as its losses miss theirs."""

  def made(share, seed=0, noise=0.01, rows=14):
    rng = np.random.default_rng(seed)
    losses = ladder(truth, noise, rng, rows)
    clean = ladder(truth, rows=rows).value
    shock = np.log(losses.value / clean) / noise
    own = rng.standard_normal(rows)
    misfit = 0.02 * (share * shock + np.sqrt(1 - share**2) * own)
    scores = Points(
      {**losses.columns, 'loss': losses.value},
      rate(losses.value) + misfit,
      np.full(rows, 0.005),
      np.zeros(rows),
      ('',) * rows,
      {},
    )
    return losses, scores

  return made


def chain_of(points, **options):
  defaults = {'fixed': {'b': 0.25}, 'resamples': 400, 'delta': np.inf}
  return fit_chain(*points, **defaults | options)


def test_a_forecast_goes_through_both_laws(both, law):
  chain = chain_of(both(0.0))
  loss, score = forecast_chain(chain, AT, items=1000)
  assert loss.value == pytest.approx(law(chain.loss.params_P, N, D))
  expected = chain.score.params['a'] / (
    1
    + np.exp(-chain.score.params['k'] * (loss.value - chain.score.params['x0']))
  )
  assert score.value == pytest.approx(expected + 0.25)
  assert score.lower < score.value < score.upper
  assert len(chain.loss.samples) == len(chain.score.samples) == 400


@pytest.mark.parametrize('share', [-0.95, 0.95])
def test_residuals_of_a_run_to_both_laws_are_drawn_together(both, share):
  chain = chain_of(both(share))
  assert np.sign(chain.correlation) == np.sign(share)
  assert abs(chain.correlation) > 0.5
  # Misfit that rises with the loss cancels part of what the loss takes away.
  loss, score = forecast_chain(chain, AT, items=10**6)
  apart = forecast_chain(
    type(chain)(chain.loss, chain.score, 0.0), AT, items=10**6
  )[1]
  width, alone = (f.upper - f.lower for f in (score, apart))
  assert (width < alone) == (share > 0)
  assert loss.upper > loss.lower


def test_pairs_draw_a_run_in_both_laws_as_often(both, monkeypatch):
  seen = []
  real = bootstrap.bootstrap

  def noted(problem, theta_P, draws):
    seen.append(draws.weight)
    return real(problem, theta_P, draws)

  monkeypatch.setattr(bootstrap, 'bootstrap', noted)
  losses, scores = both(0.0, rows=15)
  many = [points.take(np.tile(range(15), 8)) for points in (losses, scores)]
  for points in many:  # runs, not repeats of a run
    points['params'][:] *= np.linspace(1, 1.001, 120)
  chain = fit_chain(*many, fixed={'b': 0.25}, resamples=20)
  assert chain.loss.conventions['bootstrap'] == 'pairs'
  np.testing.assert_array_equal(*seen)


def test_draws_stay_pairs_where_a_refit_fails(both, monkeypatch):
  """What fails in one law is left out of the other as well."""
  real = bootstrap.bootstrap

  def failing(problem, theta_P, draws):
    found = real(problem, theta_P, draws)
    kept = found.rows != (3 if problem.law.name == 'sigmoid' else 5)
    return found._replace(
      samples=found.samples[kept],
      noise=found.noise[kept],
      rows=found.rows[kept],
    )

  points = both(0.5)
  whole = chain_of(points, resamples=20)
  monkeypatch.setattr(bootstrap, 'bootstrap', failing)
  chain = chain_of(points, resamples=20)
  for kind in ('loss', 'score'):
    np.testing.assert_array_equal(
      getattr(chain, kind).samples,
      np.delete(getattr(whole, kind).samples, [3, 5], axis=0),
    )


def test_the_interval_holds_the_items(both):
  chain = chain_of(both(0.0))
  few, many = (
    forecast_chain(chain, AT, items=items)[1] for items in (20, 10**6)
  )
  assert few.upper - few.lower > 1.3 * (many.upper - many.lower)


def test_scores_cover_as_often_as_they_say(both, truth, law):
  """60 ladders: a 90% interval misses over 14 times with a chance of 0.1%."""
  rng = np.random.default_rng(9)
  missed = 0
  for seed in range(60):
    chain = chain_of(both(0.5, seed), resamples=100)
    _, told = forecast_chain(chain, AT, items=10**6)
    shock, own = rng.standard_normal(2)
    loss = law(truth, N, D) * np.exp(0.01 * shock)
    score = rate(loss) + 0.02 * (0.5 * shock + np.sqrt(0.75) * own)
    missed += not told.lower <= score <= told.upper
  assert missed <= 14


def test_mistakes_are_named(both):
  points = both(0.0)
  with pytest.raises(UserError, match="link = 'direct': expected a law from"):
    fit_chain(*points, link='direct')
  with pytest.raises(UserError, match='items = 0'):
    forecast_chain(chain_of(points, resamples=20), AT, items=0)

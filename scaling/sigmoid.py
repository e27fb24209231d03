"""The law from loss to a task's score.

  score(x) = a / (1 + exp(-k (x - x0))) + b

with x a loss: step two of the task ladder, Bhagia et al. 2024,
arXiv:2412.04403, section 3.2. k < 0, as scores rise while losses fall; b is the
score of chance, known beforehand, and a + b is the ceiling, at most 1.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from configs.errors import UserError
from scaling import newton, trust
from scaling.law import Fit, check_level, domain, percentile_intervals
from scaling.points import Scores

NAME = 'sigmoid'
PARAMS = ('a', 'k', 'x0', 'b')
_FREE = 3  # a, k and x0


def predict(params_P: np.ndarray, loss: np.ndarray | float) -> np.ndarray:
  """score(loss); leading axes of `params_P` come first in the result."""
  a, k, x0, b = np.moveaxis(np.asarray(params_P)[..., None], -2, 0)
  # tanh cannot overflow, however far the loss.
  return a * (1 + np.tanh(k * (loss - x0) / 2)) / 2 + b


def fit_sigmoid(
  scores: Scores,
  *,
  chance: float,
  task: str = '',
  resamples: int = 1000,
  level: float = 0.9,
  seed: int = 0,
) -> Fit:
  """Fits a sigmoid, each score weighted by its standard error.

  Intervals come from refits to scores simulated about the fit. Their noise is
  the standard error of each score, enlarged where the residuals are larger than
  it tells, as `scaling.bootstrap` does for losses.

  Args:
    scores: M pairs of loss and score.
    chance: score of a guess, the floor b.
    task: name, kept among the conventions.
    resamples: bootstrap refits.
    level: of the intervals.
    seed: of the bootstrap.

  Raises:
    UserError: fewer than 3 scores, losses all equal, a chance level outside
      [0, 1), or a standard error that is not above 0.
  """
  check_level(level)
  _check(scores, chance)
  centre, spread = np.mean(scores.loss), np.ptp(scores.loss)
  x_M = (scores.loss - centre) / spread
  lower, upper = _bounds(chance)

  def residuals(theta: np.ndarray) -> np.ndarray:
    return (
      predict(np.append(theta, chance), x_M) - scores.score
    ) / scores.stderr

  # Starts span ceilings seen and unseen, slopes, and midpoints out of reach.
  found = min(
    (
      optimize.least_squares(
        residuals, np.clip([a, k, x0], lower, upper), bounds=(lower, upper)
      )
      for a in (0.3 * upper[0], 0.98 * upper[0])
      for k in (-2.0, -8.0)
      for x0 in (-1.0, 0.0)
    ),
    key=lambda result: result.cost,
  )
  said = [] if found.success else ['the fit did not converge']
  samples_Rx3, noise_R = np.empty((0, _FREE)), np.empty(0)
  if len(x_M) >= trust.ENOUGH * _FREE:
    samples_Rx3, noise_R = _bootstrap(
      x_M, scores.stderr, found.x, chance, 2 * found.cost, (resamples, seed)
    )
    failed = 1 - len(noise_R) / resamples
    if failed > trust.FAILED:
      said.append(f'{failed:.1%} of the bootstrap refits failed; left out')
  else:
    said.append(
      f'{len(x_M)} scores for {_FREE} parameters: no interval; '
      f'{trust.ENOUGH * _FREE} scores are the least for one'
    )
  samples_RxP = _natural(samples_Rx3, chance, centre, spread)
  params_P = _natural(found.x[None], chance, centre, spread)[0]
  intervals = percentile_intervals(PARAMS, samples_RxP, level)
  said += _warnings(params_P, intervals, scores)
  return Fit(
    law=NAME,
    params=dict(zip(PARAMS, params_P.tolist(), strict=True)),
    intervals=intervals,
    objective=float(2 * found.cost),
    n=len(x_M),
    conventions={
      'value': task,
      'objective': 'sum of squares of residuals over their standard errors',
      'bootstrap': 'noise',
      'chance': f'{chance:g}',
    },
    warnings=tuple(said),
    level=level,
    samples=samples_RxP,
    noise=noise_R,
    domain=domain({'loss': scores.loss, 'score': scores.score}),
  )


def _bootstrap(
  x_M: np.ndarray,
  stderr_M: np.ndarray,
  theta: np.ndarray,
  chance: float,
  chi_squared: float,
  draws: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
  """Refits to simulated scores: parameters, and misfit beyond the errors.

  Standard errors are the least noise. Residuals that are larger enlarge it, by
  a factor known from few degrees of freedom only and drawn accordingly.
  """
  resamples, seed = draws
  rng = np.random.default_rng(seed)
  misfit_R = chi_squared / rng.chisquare(len(x_M) - _FREE, resamples)
  scale_R = np.sqrt(np.maximum(1.0, misfit_R))
  shock_RxM = rng.standard_normal((resamples, len(x_M)))
  fitted_M = predict(np.append(theta, chance), x_M)
  score_RxM = fitted_M + scale_R[:, None] * stderr_M * shock_RxM
  shape = score_RxM.shape
  data = {
    'x': newton.pad(np.broadcast_to(x_M, shape), 0.0),
    'score': newton.pad(score_RxM, 0.0),
    'stderr': newton.pad(np.broadcast_to(stderr_M, shape), np.inf),
    'chance': np.full(resamples, chance),
  }
  refits = newton.minimize(
    _objective,
    np.tile(theta, (resamples, 1)),
    *_bounds(chance),
    data,
  )
  good = refits.converged
  noise_R = np.sqrt(scale_R**2 - 1) * np.median(stderr_M)
  return refits.x[good], noise_R[good]


def _bounds(chance: float) -> tuple[np.ndarray, np.ndarray]:
  """Of a, k and x0, the loss in units of its spread about its mean."""
  return (
    np.array([1e-3, -50.0, -10.0]),
    np.array([1 - chance, -0.05, 10.0]),
  )


def _objective(
  theta: jax.Array, data: dict[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
  a, k, x0 = theta
  fitted = a * jax.nn.sigmoid(k * (data['x'] - x0)) + data['chance']
  residual = (fitted - data['score']) / data['stderr']
  scale = jnp.sum((jnp.abs(residual) + 1e-9) / data['stderr'])
  return jnp.sum(residual**2) / 2, jax.lax.stop_gradient(scale)


def _natural(
  theta_Rx3: np.ndarray, chance: float, centre: float, spread: float
) -> np.ndarray:
  """Parameters of the scaled loss -> those of the loss, with b."""
  a, k, x0 = theta_Rx3.T
  floor = np.full_like(a, chance)
  return np.stack([a, k / spread, x0 * spread + centre, floor], axis=-1)


def _warnings(
  params_P: np.ndarray,
  intervals: dict[str, tuple[float, float]],
  scores: Scores,
) -> list[str]:
  a, _, x0, b = params_P
  said = []
  low, high = intervals.get('a', (a, a))
  if np.min(scores.loss) > x0:
    said.append(
      'the scores cover only the start of the sigmoid: its ceiling a + b is '
      'not measured'
    )
  elif high - low > 0.5 * a:
    said.append(
      f'the ceiling is open: a = {a:.3g}, interval {low:.3g} to {high:.3g}'
    )
  if a > 0.999 * (1 - b):
    said.append('the ceiling a + b is at its bound, 1')
  if np.all(np.abs(scores.score - b) < 2 * scores.stderr):
    said.append('no score differs from chance: nothing can be forecast')
  return said


def _check(scores: Scores, chance: float) -> None:
  if not 0 <= chance < 1:
    raise UserError(f'chance = {chance}: expected at least 0 and below 1')
  if len(scores.loss) < _FREE:
    raise UserError(
      f'{len(scores.loss)} scores for {_FREE} parameters of a sigmoid: add runs'
    )
  if not np.ptp(scores.loss) > 0:
    raise UserError('the loss is the same in all runs: a sigmoid needs a range')
  if not np.all(scores.stderr > 0):
    raise UserError('stderr: a sigmoid needs standard errors above 0')

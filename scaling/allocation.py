"""Power laws of the best size and tokens, through optima however found.

  N* = G C^a,   D* = H C^b

Hoffmann et al. 2022, arXiv:2203.15556, equation 4. `scaling.envelope` finds the
optima by approach one, `scaling.isoflop` by approach two.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from configs.errors import UserError
from scaling import table
from scaling.fitted import Fit, domain
from scaling.intervals import percentile
from scaling.points import Points

PARAMS = ('G', 'a', 'H', 'b')
AXES = ('params', 'tokens')
_INTERVAL = 4  # optima, two for each parameter of a line, for an interval


class Optima(NamedTuple):
  """The best runs of K budgets, arrays [K].

  Standard errors are of the logs, 0 where they are not known.
  """

  flops: np.ndarray
  params: np.ndarray
  tokens: np.ndarray
  loss: np.ndarray
  params_stderr: np.ndarray
  tokens_stderr: np.ndarray

  def logs(self) -> tuple[np.ndarray, np.ndarray]:
    """Log FLOPs [K]; log params and tokens [2, K]."""
    return np.log(self.flops), np.log([self.params, self.tokens])


class Allocation(NamedTuple):
  """Power laws of the best size and tokens, and what they go through."""

  fit: Fit  # of G, a, H, b
  optima: Optima
  without: np.ndarray  # [L, 4], the parameters without each of L parts


def with_both(
  data: Points | Mapping[str, Any], budget: str = 'flops'
) -> Points:
  """Points with params and tokens, one from the other where it is absent.

  Args:
    data: points, or columns by name.
    budget: a column that is needed beside `flops`.

  Raises:
    UserError: a column missing, or neither params nor tokens.
  """
  needed = tuple(dict.fromkeys(['flops', budget]))
  points = data
  if not isinstance(points, Points):
    points = table.from_columns(points, needed)
  columns = dict(points.columns)
  absent = [name for name in needed if name not in columns]
  if absent or not {*AXES} & {*columns}:
    raise UserError(
      f'compute-optimal sizes need {", ".join(needed)} and params or tokens; '
      f'there are {", ".join(columns)}'
    )
  for name, other in (AXES, AXES[::-1]):
    if name not in columns:
      columns[name] = columns['flops'] / (6 * columns[other])
  return Points(
    columns,
    points.value,
    points.stderr,
    points.seed,
    points.size,
    points.conventions,
  )


def power_laws(
  x_K: np.ndarray, y_2xK: np.ndarray, weight_2xK: np.ndarray
) -> np.ndarray:
  """G, a, H, b by weighted least squares of logs, [..., 4].

  Args:
    x_K: log FLOPs; leading axes are kept, as of the others.
    y_2xK: log params and log tokens.
    weight_2xK: 0 leaves an optimum out. Where those that are left share one
      budget, all is NaN.
  """
  x_1xK = x_K[..., None, :]
  total_2 = np.sum(weight_2xK, axis=-1)
  safe_2x1 = np.where(total_2 > 0, total_2, 1.0)[..., None]
  x0_2x1 = np.sum(weight_2xK * x_1xK, axis=-1, keepdims=True) / safe_2x1
  y0_2x1 = np.sum(weight_2xK * y_2xK, axis=-1, keepdims=True) / safe_2x1
  off_2xK = x_1xK - x0_2x1
  square_2 = np.sum(weight_2xK * off_2xK**2, axis=-1)
  product_2 = np.sum(weight_2xK * off_2xK * (y_2xK - y0_2x1), axis=-1)
  some_2 = square_2 > 1e-9 * total_2
  exponent_2 = np.where(some_2, product_2, np.nan) / np.where(
    some_2, square_2, 1
  )
  coefficient_2 = np.exp((y0_2x1 - exponent_2[..., None] * x0_2x1)[..., 0])
  params_2x2 = np.stack([coefficient_2, exponent_2], axis=-1)
  return params_2x2.reshape(*params_2x2.shape[:-2], 4)


def allocation(
  law: str,
  optima: Optima,
  weight_2xK: np.ndarray,
  *,
  samples: np.ndarray,
  spread: float,
  without: np.ndarray,
  parts: Sequence[str],
  conventions: Mapping[str, str],
  warnings: Sequence[str],
  level: float,
) -> Allocation:
  """The power laws through optima, with intervals and influences.

  Args:
    law: its name.
    optima: at least two.
    weight_2xK: of the optima, for params and for tokens.
    samples: refits [R, 4]. Those that are not finite are left out; too few
      optima for an interval leave out all.
    spread: that widens the samples about the parameters.
    without: refits without each part of the data, [L, 4].
    parts: their names, L.
    conventions: of the points, and how optima were found.
    warnings: said so far.
    level: of the intervals.
  """
  x_K, y_2xK = optima.logs()
  params_P = power_laws(x_K, y_2xK, weight_2xK)
  off_K = y_2xK[0] - np.log(params_P[0]) - params_P[1] * x_K
  samples = samples[np.all(np.isfinite(samples), axis=1)]
  said, spans = list(warnings), {}
  if len(x_K) < _INTERVAL or not len(samples):
    samples = np.empty((0, 4))
    said.append(
      f'{len(x_K)} optima: no interval; {_INTERVAL} are the least for one'
    )
  else:
    said += _decisive(params_P, samples, without, parts)
    samples = np.where(
      [True, False, True, False],  # the logs of coefficients
      params_P * (samples / params_P) ** spread,
      params_P + spread * (samples - params_P),
    )
    ends_Px2 = percentile(samples, level).T.tolist()
    spans = {
      name: (low, high)
      for name, (low, high) in zip(PARAMS, ends_Px2, strict=True)
    }
  design_Kx2 = np.stack([np.ones_like(x_K), x_K - np.mean(x_K)], axis=1)
  design_Kx2 = design_Kx2 * np.sqrt(weight_2xK[0])[:, None]
  scatter = np.sqrt(np.sum(off_K**2) / max(len(x_K) - 2, 1))
  fit = Fit(
    law=law,
    params=dict(zip(PARAMS, params_P.tolist(), strict=True)),
    intervals=spans,
    objective=float(np.sum(weight_2xK[0] * off_K**2) / 2),
    n=len(x_K),
    conventions={
      **conventions,
      'objective': 'sum of weighted squares / 2 of log params',
      'interval': 'percentile',
    },
    warnings=tuple(said),
    level=level,
    space='log',
    converged=True,
    condition=float(
      np.linalg.cond(design_Kx2 / np.linalg.norm(design_Kx2, axis=0))
    ),
    at_bounds=(),
    flat=(),
    domain=domain({n: getattr(optima, n) for n in ('flops', *AXES, 'loss')}),
    samples=samples,
    noise=np.full(len(samples), scatter),
  )
  return Allocation(fit, optima, without)


def _decisive(
  params_P: np.ndarray,
  samples: np.ndarray,
  without: np.ndarray,
  parts: Sequence[str],
) -> list[str]:
  """The part that moves an exponent most, if by over a standard error.

  DFBETAS above one: Belsley, Kuh and Welsch 1980, Regression Diagnostics.
  """
  stderr_2 = np.std(samples[:, [1, 3]], axis=0)
  moved_Lx2 = np.abs(without - params_P)[:, [1, 3]] / np.maximum(
    stderr_2, 1e-12
  )
  moved_L = np.max(np.nan_to_num(moved_Lx2), axis=1)
  row = int(np.argmax(moved_L))
  if moved_L[row] <= 1:
    return []
  _, a, _, b = params_P
  _, a_less, _, b_less = without[row]
  return [
    f'{parts[row]} alone moves a from {a_less:.3g} to {a:.3g} and b from '
    f'{b_less:.3g} to {b:.3g}, by {moved_L[row]:.1f} standard errors'
  ]

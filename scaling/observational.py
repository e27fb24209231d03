"""Observational laws: capability from the benchmarks of public models.

Ruan, Maddison and Hashimoto 2024, arXiv:2405.10938: scores of many models on
standard benchmarks have a low rank; their first principal components S are
capabilities. Within a family of models they are linear in log FLOPs, and a
downstream metric of any family is a sigmoid of them. So it can be fitted on
weak models, of which there are many, and predicted for strong ones.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special

from configs.errors import UserError
from scaling.fitted import Fit, domain
from scaling.intervals import check_level, percentile

_ROUNDS = 1000  # of imputation
_SETTLED = 1e-9  # change of an imputed score that ends it, of the scores' span
_ENOUGH = 2  # models for each parameter, for an interval
_SATURATED = 0.02  # distance of a score from its bounds in a first guess


@dataclasses.dataclass(frozen=True, eq=False)
class Capabilities:
  """Principal components of scores [M models, T benchmarks].

  More is better: loadings of a component have a positive sum.
  """

  scores: np.ndarray  # [M, K], the capabilities
  loadings: np.ndarray  # [K, T], of unit length
  mean: np.ndarray  # [T]
  explained: np.ndarray  # [T], the share of variance of every component
  imputed: np.ndarray  # [M, T], the benchmarks with missing ones filled in


class FamilyLaw(NamedTuple):
  """S = w log FLOPs + b within one family."""

  w: float
  b: float
  r2: float
  n: int  # models


def capabilities(
  scores: np.ndarray, components: int = 1, *, rank: int = 1
) -> Capabilities:
  """Principal components of benchmark scores, with missing ones imputed.

  Missing scores are those of the components of `rank`, found in turns with them
  until they settle; rank 1 in the paper. Scores are centred, not
  standardised: all are accuracies.

  Args:
    scores: [M, T], NaN where a model was not measured.
    components: K, that are kept.
    rank: of the imputation.

  Raises:
    UserError: more components than benchmarks or models less one, or a model or
      benchmark without any score.
  """
  given_MxT = np.asarray(scores, np.float64)
  if given_MxT.ndim != 2:
    raise UserError(
      f'scores of shape {given_MxT.shape}: expected [models, benchmarks]'
    )
  missing = np.isnan(given_MxT)
  most = min(given_MxT.shape[1], given_MxT.shape[0] - 1)
  for name, value in (('components', components), ('rank', rank)):
    if not 1 <= value <= most:
      raise UserError(f'{name} = {value}: expected 1 to {most}')
  for axis, what in ((0, 'benchmark'), (1, 'model')):
    empty = np.flatnonzero(np.all(missing, axis=axis))
    if len(empty):
      raise UserError(f'{what} {empty[0]} has no score: leave it out')
  imputed_MxT = np.where(missing, np.nanmean(given_MxT, axis=0), given_MxT)
  for _ in range(_ROUNDS):
    mean_T, left_MxT, size_T, loadings_TxT = _svd(imputed_MxT)
    low_MxT = mean_T + (left_MxT * size_T)[:, :rank] @ loadings_TxT[:rank]
    change = np.max(np.abs(low_MxT - imputed_MxT), where=missing, initial=0.0)
    imputed_MxT = np.where(missing, low_MxT, given_MxT)
    if change <= _SETTLED * np.nanmax(np.abs(given_MxT)):
      break
  mean_T, left_MxT, size_T, loadings_TxT = _svd(imputed_MxT)
  sign_T = np.where(np.sum(loadings_TxT, axis=1) < 0, -1.0, 1.0)
  return Capabilities(
    scores=(left_MxT * size_T * sign_T)[:, :components],
    loadings=(loadings_TxT * sign_T[:, None])[:components],
    mean=mean_T,
    explained=size_T**2 / np.sum(size_T**2),
    imputed=imputed_MxT,
  )


def project(found: Capabilities, scores: np.ndarray) -> np.ndarray:
  """Capabilities [M, K] of other models by their scores [M, T].

  By least squares of the benchmarks that each model was measured on.

  Raises:
    UserError: other benchmarks, or a model with fewer scores than components.
  """
  scores_MxT = np.asarray(scores, np.float64)
  if scores_MxT.ndim != 2 or scores_MxT.shape[1] != len(found.mean):
    raise UserError(
      f'scores of shape {scores_MxT.shape}: expected [models, '
      f'{len(found.mean)}]'
    )
  rows = []
  for model, score_T in enumerate(scores_MxT):
    known = ~np.isnan(score_T)
    if np.sum(known) < len(found.loadings):
      raise UserError(
        f'model {model} has {np.sum(known)} scores for {len(found.loadings)} '
        'components'
      )
    off = (score_T - found.mean)[known]
    rows.append(np.linalg.lstsq(found.loadings[:, known].T, off)[0])
  return np.array(rows)


def family_laws(
  capability: np.ndarray,
  flops: np.ndarray,
  family: Sequence[str],
  *,
  least: int = 3,
) -> dict[str, FamilyLaw]:
  """S = w log FLOPs + b in each family, natural logs.

  Args:
    capability: one component, [M].
    flops: [M]; a model whose FLOPs are not known, NaN, is left out.
    family: names, M of them.
    least: models of a family that has a law.
  """
  laws = {}
  for name in dict.fromkeys(family):
    rows = np.array([each == name for each in family]) & np.isfinite(flops)
    x, y = np.log(flops[rows]), capability[rows]
    if len(x) < least or np.ptp(x) == 0:
      continue
    w, b = np.polyfit(x, y, 1)
    off = y - w * x - b
    r2 = 1 - np.sum(off**2) / np.sum((y - np.mean(y)) ** 2)
    laws[name] = FamilyLaw(float(w), float(b), float(r2), len(x))
  return laws


def fit_observational(
  capability: np.ndarray,
  value: np.ndarray,
  *,
  floor: float = 0.0,
  family: Sequence[str] | None = None,
  resamples: int = 1000,
  level: float = 0.9,
  seed: int = 0,
) -> Fit:
  """Fits value = floor + (1 - floor) / (1 + exp(-(alpha + beta . S))).

  By least squares. The sigmoid ends at 1: weak models do not
  tell where a metric ends, and a ceiling fitted to them predicts worse. With
  log FLOPs in place of S it is the law of compute that this is compared to.

  Args:
    capability: S, [M, K] or [M].
    value: a metric between 0 and 1, [M].
    floor: the value of chance.
    family: names, M of them. The bootstrap then draws families rather than
      models, as models of a family share their data.
    resamples: of the bootstrap.
    level: of the intervals.
    seed: of the bootstrap.

  Returns:
    A fit with parameters alpha, beta_1 ... beta_K.

  Raises:
    UserError: arrays that do not match, numbers that are not finite, a value or
      floor out of range, or fewer models than parameters.
  """
  check_level(level)
  S_MxK, value_M = _columns(capability), np.asarray(value, np.float64)
  names = ('alpha', *(f'beta_{k + 1}' for k in range(S_MxK.shape[1])))
  _check(S_MxK, value_M, floor, len(names))
  # Of order one, whatever the unit of a capability.
  middle_K, scale_K = np.mean(S_MxK, axis=0), np.std(S_MxK, axis=0)
  design_MxP = np.column_stack(
    [np.ones(len(S_MxK)), (S_MxK - middle_K) / scale_K]
  )
  y_M = (value_M - floor) / (1 - floor)
  logit_M = special.logit(np.clip(y_M, _SATURATED, 1 - _SATURATED))
  start_P = np.linalg.lstsq(design_MxP, logit_M)[0]
  found = _descend(start_P, design_MxP, y_M, np.ones(len(y_M)))
  samples_RxP, spans, said = np.empty((0, len(names))), {}, []
  if len(y_M) < _ENOUGH * len(names):
    said.append(
      f'{len(y_M)} models for {len(names)} parameters: no interval; '
      f'{_ENOUGH * len(names)} are the least for one'
    )
  else:
    clusters = range(len(y_M)) if family is None else family
    refits = [
      _descend(found.x, design_MxP, y_M, weight_M)
      for weight_M in _drawn(clusters, resamples, seed)
    ]
    samples_RxP = np.array([each.x for each in refits if each.success])

  def natural(theta_P: np.ndarray) -> np.ndarray:
    beta_K = theta_P[..., 1:] / scale_K
    alpha = theta_P[..., :1] - np.sum(beta_K * middle_K, -1, keepdims=True)
    return np.concatenate([alpha, beta_K], axis=-1)

  if len(samples_RxP):
    samples_RxP = natural(samples_RxP)
    ends_Px2 = percentile(samples_RxP, level).T.tolist()
    spans = {n: (a, b) for n, (a, b) in zip(names, ends_Px2, strict=True)}
  if not found.success:
    said.append('the fit did not converge: its parameters are not an optimum')
  if np.max(y_M) < 0.5:
    said.append('no value is half way up the sigmoid: its steepness is a guess')
  scatter = np.sqrt(2 * found.cost / max(len(y_M) - len(names), 1))
  return Fit(
    law='observational',
    params=dict(zip(names, natural(found.x).tolist(), strict=True)),
    intervals=spans,
    objective=float(found.cost) * (1 - floor) ** 2,
    n=len(y_M),
    conventions={
      'floor': repr(float(floor)),
      'objective': 'sum of squares / 2 of residuals',
      'bootstrap': 'models' if family is None else 'families',
      'interval': 'percentile',
    },
    warnings=tuple(said),
    level=level,
    space='linear',
    converged=bool(found.success),
    condition=float(
      np.linalg.cond(found.jac / np.linalg.norm(found.jac, axis=0))
    ),
    at_bounds=(),
    flat=(),
    domain=domain({f'S_{k + 1}': S_K for k, S_K in enumerate(S_MxK.T)}),
    samples=samples_RxP,
    noise=np.full(len(samples_RxP), scatter * (1 - floor)),
  )


def predict(fit: Fit, capability: np.ndarray) -> np.ndarray:
  """The metric of models [M] by their capabilities, [M, K] or [M].

  Raises:
    UserError: a fit of another law, or another number of capabilities.
  """
  if fit.law != 'observational':
    raise UserError(f'{fit.law} is no observational law')
  S_MxK = _columns(capability)
  alpha, *beta_K = fit.params.values()
  if S_MxK.shape[1] != len(beta_K):
    raise UserError(
      f'{S_MxK.shape[1]} capabilities: the law is of {len(beta_K)}'
    )
  floor = float(fit.conventions['floor'])
  return floor + (1 - floor) * special.expit(alpha + S_MxK @ np.array(beta_K))


def _svd(
  scores_MxT: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """The mean, and the singular value decomposition of what is off it."""
  mean_T = np.mean(scores_MxT, axis=0)
  return mean_T, *np.linalg.svd(scores_MxT - mean_T, full_matrices=False)


def _columns(capability: np.ndarray) -> np.ndarray:
  S_MxK = np.asarray(capability, np.float64)
  return S_MxK[:, None] if S_MxK.ndim == 1 else S_MxK


def _check(
  S_MxK: np.ndarray, value_M: np.ndarray, floor: float, params: int
) -> None:
  if value_M.shape != (len(S_MxK),):
    raise UserError(f'{len(S_MxK)} capabilities, but {value_M.size} values')
  if not (np.all(np.isfinite(S_MxK)) and np.all(np.isfinite(value_M))):
    raise UserError('capability, value: expected finite numbers')
  if not 0 <= floor < 1:
    raise UserError(f'floor = {floor}: expected from 0 to below 1')
  if np.any((value_M < 0) | (value_M > 1)):
    raise UserError('value: expected shares between 0 and 1')
  if len(S_MxK) < params:
    raise UserError(f'{len(S_MxK)} models for {params} parameters: add models')
  if np.any(np.ptp(S_MxK, axis=0) == 0):
    raise UserError('capability: the same in all models')


def _descend(
  start_P: np.ndarray,
  design_MxP: np.ndarray,
  y_M: np.ndarray,
  weight_M: np.ndarray,
) -> optimize.OptimizeResult:
  """Weighted least squares of the sigmoid."""
  root_M = np.sqrt(weight_M)

  def off(theta_P: np.ndarray) -> np.ndarray:
    return root_M * (special.expit(design_MxP @ theta_P) - y_M)

  def slope(theta_P: np.ndarray) -> np.ndarray:
    rise_M = special.expit(design_MxP @ theta_P)
    return (root_M * rise_M * (1 - rise_M))[:, None] * design_MxP

  return optimize.least_squares(off, start_P, slope)


def _drawn(clusters: Sequence[Any], resamples: int, seed: int) -> np.ndarray:
  """How often each model counts where clusters are drawn, [R, M]."""
  which_M = np.unique([str(name) for name in clusters], return_inverse=True)[1]
  count = int(np.max(which_M)) + 1
  rng = np.random.default_rng(seed)
  drawn = rng.multinomial(count, np.full(count, 1 / count), resamples)
  return drawn[:, which_M]

"""Multinomial logistic regression on frozen features."""

import numpy as np
from scipy import optimize, special

_SMALLEST_VARIANCE = 1e-6  # of a direction, as a share of the largest


def fit(
  features_NxD: np.ndarray, labels_N: np.ndarray, num_classes: int, l2: float
) -> tuple[np.ndarray, np.ndarray]:
  """The kernel [D, C] and bias [C] of the best linear head.

  Minimises mean(-log softmax(z W + b)[label]) + l2 / 2 |W|^2, where z are the
  features, centred and whitened: their covariance is the identity. Centre and
  whitening are then folded into the head, so that it takes features as they
  are. The problem is convex with one optimum in W, which L-BFGS finds without
  a learning rate, in some tens of iterations; and no invertible linear map of
  the features changes it.

  Args:
    features_NxD: one row for each example.
    labels_N: integers below `num_classes`.
    num_classes: C.
    l2: above 0.
  """
  mean_D, whiten_DxD = _whitening(np.asarray(features_NxD, np.float64))
  z_NxD = (features_NxD - mean_D) @ whiten_DxD
  rows_N = np.arange(len(z_NxD))

  def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
    kernel_DxC, bias_C = _unflatten(flat, num_classes)
    log_p_NxC = special.log_softmax(z_NxD @ kernel_DxC + bias_C, axis=-1)
    value = -np.mean(log_p_NxC[rows_N, labels_N])
    value += l2 / 2 * np.sum(kernel_DxC**2)
    residual_NxC = np.exp(log_p_NxC)
    residual_NxC[rows_N, labels_N] -= 1
    residual_NxC /= len(z_NxD)
    slope_DxC = z_NxD.T @ residual_NxC + l2 * kernel_DxC
    slope_C = residual_NxC.sum(axis=0)
    return float(value), np.concatenate([slope_DxC.ravel(), slope_C])

  found = optimize.minimize(
    objective,
    np.zeros((z_NxD.shape[1] + 1) * num_classes),
    jac=True,
    method='L-BFGS-B',
    options={'maxiter': 1000, 'ftol': 1e-12, 'gtol': 1e-7},
  )
  kernel_DxC, bias_C = _unflatten(found.x, num_classes)
  kernel_DxC = whiten_DxD @ kernel_DxC
  return kernel_DxC, bias_C - mean_D @ kernel_DxC


def _whitening(x_NxD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The mean [D] and V / sqrt(variances) [D, D] of the covariance's axes V."""
  mean_D = x_NxD.mean(axis=0)
  covariance_DxD = np.cov(x_NxD - mean_D, rowvar=False, bias=True)
  variances_D, axes_DxD = np.linalg.eigh(np.atleast_2d(covariance_DxD))
  floor = _SMALLEST_VARIANCE * variances_D[-1] or 1.0
  return mean_D, axes_DxD / np.sqrt(np.maximum(variances_D, floor))


def _unflatten(
  flat: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
  kernel_DxC = flat[:-num_classes].reshape(-1, num_classes)
  return kernel_DxC, flat[-num_classes:]

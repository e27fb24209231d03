"""How long fits take, beside others: `python benchmarks/fits.py`.

240 simulated runs of a known law. Each method seeks the same optimum, the sum
of Huber(1e-3) of log residuals; how far its objective lies above the least one
found is told beside its time. scipy runs the published protocol, L-BFGS from
4,500 starts (Hoffmann et al. 2022, appendix D.3). The PyPI package `chinchilla`
runs its own grid search where `pip install chinchilla==0.2.0` has been run.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
from absl import app, flags
from scipy import optimize, special

from scaling.fit import fit_law
from scaling.laws import CHINCHILLA
from scaling.ready import prepare

DELTA = 1e-3
TRUTH = np.array([1.8172, 482.01, 2085.43, 0.3478, 0.3658])
GRID = {  # of a, b, e = log A, log B, log E, and the exponents, as published
  'alpha': np.arange(0, 2.5, 0.5),
  'beta': np.arange(0, 2.5, 0.5),
  'e': np.arange(-1, 1.5, 0.5),
  'a': np.arange(0, 30, 5),
  'b': np.arange(0, 30, 5),
}


def simulate(count: int = 240) -> dict[str, np.ndarray]:
  """Runs over four decades of compute, with a noise of 1%."""
  rng = np.random.default_rng(0)
  n = np.exp(rng.uniform(np.log(5e7), np.log(1e10), count))
  d = n * np.exp(rng.uniform(np.log(1), np.log(100), count))
  clean = CHINCHILLA.predict(TRUTH, {'params': n, 'tokens': d})
  loss = clean * np.exp(0.01 * rng.standard_normal(count))
  return {'params': n, 'tokens': d, 'loss': loss}


def objective(params_P: Sequence[float], runs: dict[str, np.ndarray]) -> float:
  """Of E, A, B, alpha, beta."""
  fitted = CHINCHILLA.predict(np.array(params_P), runs)
  off = np.log(fitted) - np.log(runs['loss'])
  return float(np.sum(special.huber(DELTA, off)))


def scipy_grid(runs: dict[str, np.ndarray], starts: int) -> list[float]:
  """The best end of L-BFGS from the published grid, or its first starts."""
  log_n, log_d, log_loss = (np.log(runs[k]) for k in runs)

  def value(x: np.ndarray) -> float:
    alpha, beta, e, a, b = x
    terms = [a - alpha * log_n, b - beta * log_d, np.full(len(log_n), e)]
    off = special.logsumexp(terms, axis=0) - log_loss
    return float(np.sum(special.huber(DELTA, off)))

  grid = np.array(list(itertools.product(*GRID.values())))
  picked = np.random.default_rng(0).permutation(len(grid))[:starts]
  found = min(
    (optimize.minimize(value, grid[row], method='L-BFGS-B') for row in picked),
    key=lambda result: result.fun,
  )
  alpha, beta, e, a, b = found.x
  return [np.exp(e), np.exp(a), np.exp(b), alpha, beta]


def pypi_chinchilla(runs: dict[str, np.ndarray]) -> list[float]:
  """The package's own BFGS from the grid of its documentation."""
  from chinchilla import Chinchilla
  from chinchilla._metrics import log_huber

  with tempfile.TemporaryDirectory() as folder:
    fitter = Chinchilla(
      folder,
      param_grid={
        'E': np.linspace(1, 2, 5),
        'a': np.linspace(1, 10, 5),
        'b': np.linspace(1, 10, 5),
        'alpha': np.linspace(0.1, 0.7, 5),
        'beta': np.linspace(0.1, 0.7, 5),
      },
      loss_fn=lambda y, fitted: log_huber(y, fitted, DELTA),
      log_level=50,
    )
    for n, d, loss in zip(*runs.values(), strict=True):
      fitter.database.append(C=6 * n * d, N=n, D=d, loss=loss)
    fitter.fit()
  return [fitter.E, fitter.A, fitter.B, fitter.alpha, fitter.beta]


def timed(run: Callable[[], list[float]]) -> tuple[list[float], float]:
  """What a call gives, and its seconds."""
  begin = time.perf_counter()
  found = run()
  return found, time.perf_counter() - begin


def main(argv: Sequence[str]) -> None:
  del argv
  args = flags.FLAGS
  runs = simulate()

  def ours() -> list[float]:
    found = prepare(runs, CHINCHILLA, delta=DELTA).found
    return found.params.tolist()

  def bootstrapped() -> list[float]:
    fit = fit_law(runs, CHINCHILLA, delta=DELTA, resamples=4000)
    return list(fit.params.values())

  methods = {
    'this, the first fit (compiles)': ours,
    'this, the next': ours,
    'this, with 4,000 refits, the first': bootstrapped,
    'this, with 4,000 refits, the next': bootstrapped,
    f'scipy, {args.starts} starts': lambda: scipy_grid(runs, args.starts),
    'chinchilla 0.2.0': lambda: pypi_chinchilla(runs),
  }
  rows = []
  for name, method in methods.items():
    try:
      found, seconds = timed(method)
    except ModuleNotFoundError as error:
      print(f'{name}: left out, {error}')
      continue
    rows.append((name, seconds, objective(found, runs)))
  least = min(value for *_, value in rows)
  print('| method | seconds | objective above the least |\n|---|---|---|')
  for name, seconds, value in rows:
    print(f'| {name} | {seconds:.3f} | {value / least - 1:.1e} |')


if __name__ == '__main__':
  flags.DEFINE_integer('starts', 4500, 'of the 4,500, at random')
  app.run(main)

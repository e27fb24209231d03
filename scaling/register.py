"""Preregistration: a forecast is sealed before the run it predicts.

The file holds the forecasts with the law they are from and the digests of the
data and of the code that made them; beside it lies its own SHA-256. Neither is
written twice. Afterwards the truth is scored against the sealed file.
"""

import datetime
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from configs.errors import UserError
from configs.files import write_json, write_text
from scaling.fitted import Fit
from scaling.forecast import Forecast, from_tree, score_forecast
from scaling.points import Points

SUFFIX = '.sha256'


def register(
  path: pathlib.Path,
  forecasts: Mapping[str, Forecast],
  fits: Mapping[str, Fit],
  data: str,
  about: Mapping[str, Any] | None = None,
) -> str:
  """Seals forecasts; a file that is sealed already is checked and kept.

  Args:
    path: of the JSON; its digest goes beside it, with the suffix .sha256.
    forecasts: by name.
    fits: the laws that they are from, by name.
    data: digest of what was fitted, as of `digest_of`.
    about: more to tell, such as the run that is forecast.

  Returns:
    The SHA-256 of the file.

  Raises:
    UserError: the file is not the one that was sealed.
  """
  if not seal_of(path).exists():
    tree = {
      'written_at': datetime.datetime.now(datetime.UTC).isoformat(),
      **(about or {}),
      'data_sha256': data,
      'code_sha256': code_digest(),
      'laws': {
        name: {'law': fit.law, 'params': fit.params, 'n': fit.n}
        for name, fit in fits.items()
      },
      **{name: told.to_tree() for name, told in forecasts.items()},
    }
    write_json(path, tree)
    # Last: the seal says that the file is whole.
    write_text(seal_of(path), _sha256(path.read_bytes()) + '\n')
  return check(path)


def check(path: pathlib.Path) -> str:
  """The digest of a sealed file.

  Raises:
    UserError: there is none, or the file has been changed since.
  """
  if not (path.is_file() and seal_of(path).is_file()):
    raise UserError(f'{path}: no sealed forecast')
  noted = seal_of(path).read_text().strip()
  if _sha256(path.read_bytes()) != noted:
    raise UserError(
      f'{path} is not the file that {seal_of(path).name} was made of: a '
      'forecast cannot be changed; start in a new folder'
    )
  return noted


def score(path: pathlib.Path, truths: Mapping[str, float]) -> dict[str, Any]:
  """Scores the sealed forecasts with what was then measured.

  Args:
    path: of the sealed file.
    truths: measured values by the names of the forecasts.

  Returns:
    The digest, and for each name forecast, truth, relative error, whether the
    interval covered it and its half-width over the truth.

  Raises:
    UserError: the file was changed, or a name that was not forecast.
  """
  digest = check(path)
  tree = json.loads(path.read_text())
  found: dict[str, Any] = {'forecast_sha256': digest}
  for name, truth in truths.items():
    if name not in tree:
      raise UserError(f'{path}: holds no forecast of {name!r}')
    told = from_tree(tree[name])
    found[name] = {
      'forecast': told.value,
      'truth': truth,
      **score_forecast(told, truth)._asdict(),
    }
  return found


def seal_of(path: pathlib.Path) -> pathlib.Path:
  """Where the digest of a forecast is."""
  return path.with_suffix(SUFFIX)


def digest_of(*fitted: Points) -> str:
  """SHA-256 of all numbers of what laws are fitted to."""
  trees = [
    {
      'columns': {n: c.tolist() for n, c in sorted(points.columns.items())},
      'value': points.value.tolist(),
      'stderr': points.stderr.tolist(),
      'seed': points.seed.tolist(),
    }
    for points in fitted
  ]
  return _sha256(json.dumps(trees).encode())


def code_digest() -> str:
  """SHA-256 of the source that fits and forecasts: its version."""
  folder = pathlib.Path(__file__).parent
  sources = sorted(folder.rglob('*.py'))
  return _sha256(b''.join(path.read_bytes() for path in sources))


def _sha256(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()

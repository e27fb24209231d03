"""The report of a study: one page that works offline, from its files alone."""

import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from configs.files import write_bytes, write_text
from configs.pages import render
from configs.tree import flatten
from evals.scores import CONFIDENCE, wilson_interval
from scaling import register
from scaling.fitted import Fit, fit_from_json
from scaling.forecast import Forecast, from_tree
from scaling.plot_checks import residual_plot
from scaling.plot_fit import loss_plot, score_plot
from scaling.plots import draw
from scaling.points import average_seeds, points, scores
from scaling.records import HELD_OUT, LOSS, Record, read_records
from scaling.verdict import Verdict
from study import forecasts, ladder, report_costs, report_figures
from study.adapt import FINETUNE
from study.config import StudyConfig, study_config
from study.ladder import Rung
from study.measure import RUNS
from study.report_figures import Curve
from train.metrics import METRICS
from train.workdir import CONFIG, DONE

REPORT = 'report.html'
FIGURES = 'figures'
TEMPLATE = 'report.html.jinja'
_SUPERSCRIPTS = str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹')
FITTED, REPEAT, HELD_OUT_ROLE = 'fitted', 'seed repeat', 'held out'


@dataclasses.dataclass(frozen=True)
class Row:
  """One rung; records and interval are None until it is measured."""

  rung: Rung
  role: str  # fitted, seed repeat or held out
  loss: Record | None  # on held-out text; it tells sizes and costs too
  bits: Record | None  # a byte of held-out text
  accuracy: Record | None  # on the study's task
  interval: tuple[float, float] | None  # Wilson's, of the accuracy

  @property
  def flops_per_second(self) -> float | None:
    if self.loss is None or not self.loss.seconds:
      return None
    return self.loss.flops / self.loss.seconds


@dataclasses.dataclass(frozen=True)
class Sealed:
  """A forecast, and whether it is still the file that was hashed."""

  tree: dict[str, Any]
  loss: Forecast
  score: Forecast
  noted: str
  digest: str
  named_by_run: bool | None  # None before the run it predicts has begun

  @property
  def intact(self) -> bool:
    return self.noted == self.digest


@dataclasses.dataclass(frozen=True)
class Study:
  """All files of a study that the report tells of; None where missing."""

  config: StudyConfig
  environment: dict[str, Any] | None
  records: tuple[Record, ...]
  rows: tuple[Row, ...]
  curves: tuple[Curve, ...]
  fit: Fit | None
  task_fit: Fit | None
  violations: list[str] | None
  task: Verdict | None  # whether the ladder can tell the task's score
  forecast: Sealed | None
  verdict: dict[str, Any] | None
  adapted: dict[tuple[str, str], dict[str, Any] | None]  # by size and mode

  @property
  def fitted_records(self) -> list[Record]:
    """Those the laws were fitted to."""
    names = {row.rung.name for row in self.rows if row.role != HELD_OUT_ROLE}
    return [record for record in self.records if record.run in names]


def write_report(folder: pathlib.Path) -> pathlib.Path:
  """Writes `report.html` and `figures/*.png` from the files of a study.

  A study that is not finished is reported as far as it has come, with what is
  still missing.

  Args:
    folder: of the study; it holds at least config.json.

  Returns:
    The report.
  """
  study = read_study(folder)
  figures = dict(_figures(study))
  for name, figure in figures.items():
    write_bytes(folder / FIGURES / f'{name}.png', report_figures.as_png(figure))
  path = folder / REPORT
  write_text(path, page(study, figures))
  return path


def read_study(folder: pathlib.Path) -> Study:
  """Reads what there is of a study."""
  config = study_config(ConfigDict(_json(folder / CONFIG)))
  path = folder / 'records.jsonl'
  records = tuple(read_records(path)) if path.exists() else ()
  fits = [
    fit_from_json((folder / name).read_text())
    if (folder / name).exists()
    else None
    for name in (forecasts.FIT, forecasts.TASK_FIT)
  ]
  checks = _json(folder / forecasts.CHECKS)
  return Study(
    config=config,
    environment=_json(folder / 'environment.json'),
    records=records,
    rows=tuple(_rows(config, records)),
    curves=tuple(_curves(config, folder / RUNS)),
    fit=fits[0],
    task_fit=fits[1],
    violations=None if checks is None else checks['violations'],
    task=None if checks is None else Verdict(**checks['task']),
    forecast=_forecast(config, folder),
    verdict=_json(folder / forecasts.VERDICT),
    adapted={
      (size, mode): _json(folder / FINETUNE / f'{size}-{mode}' / DONE)
      for size in config.finetune.sizes
      for mode in config.finetune.modes
    },
  )


def _json(path: pathlib.Path) -> Any:
  return json.loads(path.read_text()) if path.exists() else None


def _forecast(config: StudyConfig, folder: pathlib.Path) -> Sealed | None:
  """A forecast counts once its digest is there, which is written last."""
  path = folder / forecasts.FORECAST
  noted = register.seal_of(path)
  if not noted.exists():
    return None
  content = path.read_bytes()
  digest = hashlib.sha256(content).hexdigest()
  tree = json.loads(content)
  run = folder / RUNS / ladder.heldout_rung(config).name / CONFIG
  return Sealed(
    tree=tree,
    loss=from_tree(tree['loss']),
    score=from_tree(tree['score']),
    noted=noted.read_text().strip(),
    digest=digest,
    named_by_run=digest in run.read_text() if run.exists() else None,
  )


def _roles(config: StudyConfig) -> list[tuple[Rung, str]]:
  """The rungs by size, tokens and seed; the held-out one last."""
  sizes = config.ladder.sizes
  found = [(rung, FITTED) for rung in ladder.fitted_rungs(config)]
  found += [(rung, REPEAT) for rung in ladder.noise_rungs(config)]
  found.sort(key=lambda r: (sizes.index(r[0].size), r[0].tokens, r[0].seed))
  return [*found, (ladder.heldout_rung(config), HELD_OUT_ROLE)]


def _rows(config: StudyConfig, records: Iterable[Record]) -> Iterator[Row]:
  by_key = {(r.run, r.task, r.metric): r for r in records}
  for rung, role in _roles(config):
    accuracy = by_key.get((rung.name, config.evals.task, config.evals.metric))
    interval = None
    if accuracy is not None and accuracy.n:
      right = round(accuracy.value * accuracy.n)
      interval = wilson_interval(right, accuracy.n)
    yield Row(
      rung=rung,
      role=role,
      loss=by_key.get((rung.name, HELD_OUT, LOSS)),
      bits=by_key.get((rung.name, HELD_OUT, 'bits_per_byte')),
      accuracy=accuracy,
      interval=interval,
    )


def _curves(config: StudyConfig, runs: pathlib.Path) -> Iterator[Curve]:
  for rung, role in _roles(config):
    found = report_figures.read_curve(
      runs / rung.name / METRICS,
      rung.size,
      held_out=role == HELD_OUT_ROLE,
      repeat=role == REPEAT,
    )
    if found is not None:
      yield found


def _figures(study: Study) -> Iterator[tuple[str, Figure]]:
  evals, verdict, sealed = study.config.evals, study.verdict, study.forecast
  records = study.fitted_records
  loss = sealed.loss if sealed else None
  truth = (
    tuple(verdict[k]['truth'] for k in ('loss', 'score')) if verdict else None
  )
  if study.fit and records:
    fitted = points(records, params=study.config.law.params)
    flops = sealed.tree['rung']['flops'] if sealed else None
    yield (
      'loss',
      draw(
        loss_plot(
          fitted,
          study.fit,
          forecast=loss,
          flops=flops,
          truth=truth[0] if truth else None,
        )
      ),
    )
    yield 'residuals', draw(residual_plot(fitted, study.fit))
  if study.task_fit and records:
    measured = scores(
      records, task=evals.task, metric=evals.metric, shots=evals.shots
    )
    score = sealed.score if sealed else None
    yield (
      'score',
      draw(
        score_plot(
          measured, study.task_fit, loss=loss, forecast=score, truth=truth
        )
      ),
    )
  if study.curves:
    yield 'learning', report_figures.learning_figure(study.curves)


def _missing(study: Study) -> list[str]:
  """What the study has not come to yet, in its own order."""
  waiting = [row.rung.name for row in study.rows if row.loss is None]
  held_out = study.rows[-1].rung.name
  fitted = [name for name in waiting if name != held_out]
  said = []
  if study.environment is None:
    said.append('the description of the machine and of the text')
  if fitted:
    said.append(
      f'{len(fitted)} of {len(study.rows) - 1} runs to fit to: '
      + ', '.join(fitted)
    )
  if study.forecast is None:
    said.append(f'the fit, and the forecast of {held_out}')
  if study.verdict is None:
    said.append(f'{held_out}, the run that is held out, and the verdict')
  cells = [' '.join(cell) for cell, done in study.adapted.items() if not done]
  if cells:
    said.append(f'finetuning: {", ".join(cells)}')
  return said


def _warnings(study: Study) -> dict[str, list[str]]:
  """Every warning once, with all that it was said of."""
  sealed = study.forecast
  told: dict[str, Iterable[str]] = {
    'fit of the loss': study.fit.warnings if study.fit else (),
    'fit of the score': study.task_fit.warnings if study.task_fit else (),
    'check of the ladder': study.violations or (),
    'text': [
      f'{row.rung.name} read its text {row.loss.tokens / unique:.2g} times over'
      for row in study.rows
      if row.loss and (unique := row.loss.unique_tokens or math.inf)
      if row.loss.tokens > unique
    ],
    'what it cost': report_costs.warnings(study.config, study.records),
  }
  if sealed is not None:
    broken = []
    if not sealed.intact:
      broken.append('the file is not the one that its digest was made of')
    if sealed.named_by_run is False:
      broken.append('the run it predicts does not name its digest')
    told = {
      'forecast': broken,
      'forecast of the loss': sealed.loss.warnings,
      'forecast of the score': sealed.score.warnings,
      **told,
    }
  found: dict[str, list[str]] = {}
  for source, texts in told.items():
    for text in texts:
      found.setdefault(text, []).append(source)
  return found


def _extremes(rows: Sequence[Row]) -> tuple[Row, Row] | None:
  """The rungs of least and most FLOPs that were scored on the task."""
  scored = [row for row in rows if row.loss and row.interval]
  scored.sort(key=lambda row: row.loss.flops if row.loss else 0)
  return (scored[0], scored[-1]) if len(scored) > 1 else None


def _seed_noise(study: Study) -> dict[str, Any] | None:
  """The runs that differ by their seed alone, and their scatter."""
  noise = study.config.noise
  rows = [
    row
    for row in study.rows
    if row.loss
    and (row.rung.size, row.rung.tokens) == (noise.size, noise.tokens)
  ]
  if len(rows) < 2:
    return None
  names = {row.rung.name for row in rows}
  repeated = [record for record in study.records if record.run in names]
  rungs = average_seeds(points(repeated), ('params', 'tokens'))
  right = [row.accuracy.value for row in rows if row.accuracy]
  return {
    'rows': rows,
    'loss': math.sqrt(rungs.variance),
    'freedom': rungs.freedom,
    'score': float(np.std(right, ddof=1)) if len(right) > 1 else None,
  }


def page(study: Study, figures: dict[str, Figure]) -> str:
  """The report as HTML, with the figures in it."""
  return render(
    pathlib.Path(__file__).with_name(TEMPLATE),
    {'number': number, 'percent': _percent, 'flat': flatten},
    study=study,
    config=study.config,
    figures={
      name: report_figures.as_svg_uri(figure)
      for name, figure in figures.items()
    },
    missing=_missing(study),
    warnings=_warnings(study),
    extremes=_extremes(study.rows),
    noise=_seed_noise(study),
    sources=report_costs.sources(study.config, study.records),
    confidence=CONFIDENCE,
    flops_power=_power_of(row.loss.flops for row in study.rows if row.loss),
    speed_power=_power_of(row.flops_per_second or 0.0 for row in study.rows),
  )


def _power_of(values: Iterable[float]) -> int:
  """The power of ten, a multiple of 3, that a column is told in."""
  largest = max(values, default=0.0)
  return 3 * math.floor(math.log10(largest) / 3) if largest > 0 else 0


def number(value: float | None, digits: int = 3) -> str:
  """Some significant digits: 1.23, 12,345 or 1.23 × 10⁹; a dash for None."""
  if value is None:
    return '—'
  mantissa, power = f'{value:.{digits - 1}e}'.split('e')
  if -4 <= int(power) < 9:
    text = f'{value:,.{max(0, digits - 1 - int(power))}f}'
  else:
    raised = str(int(power)).translate(_SUPERSCRIPTS)
    text = f'{mantissa}\u00a0×\u00a010{raised}'
  return text.replace('-', '−')


def _percent(
  share: float | None, decimals: int = 1, *, signed: bool = False
) -> str:
  """A share as a number of per cent, without the sign for it."""
  if share is None:
    return '—'
  sign = '+' if signed else ''
  return f'{100 * share:{sign}.{decimals}f}'.replace('-', '−')

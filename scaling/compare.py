"""Lets laws compete: `python -m scaling.compare --records=F --out=OUT.json`."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags

from configs import command
from configs.errors import UserError
from configs.files import write_json
from scaling import source
from scaling.ensemble import forecast_all
from scaling.laws import LAWS, known_law
from scaling.points import Points
from scaling.rolling import Held, Rolled, least_rungs, roll

DEFAULT = ('chinchilla', 'over_training', 'kaplan', 'kaplan_offset')
_DRAWS = 2000
_RUNGS = 6  # of fewer, even all in favour of one law may well be luck


class Standing(NamedTuple):
  """How one law did over all rungs held out."""

  median_error: float  # of the absolute relative errors
  mean_error: float
  bias: float  # mean relative error: above zero, it forecasts too high
  coverage: float  # share of intervals that held the truth
  half_width: float  # median, relative to the truth
  log_score: float  # mean log density of the truth
  n: int  # forecasts


@dataclasses.dataclass(frozen=True)
class Comparison:
  """The standing of every law, and the winner where there is one."""

  standings: dict[str, Standing]
  winner: str | None
  reason: str
  rolled: Rolled

  def to_tree(self) -> dict:
    """Plain data for JSON."""
    return {
      'laws': {name: s._asdict() for name, s in self.standings.items()},
      'winner': self.winner,
      'reason': self.reason,
      'level': self.rolled.level,
      'cutoffs': list(self.rolled.cutoffs),
      'held_out': [dataclasses.asdict(held) for held in self.rolled.held],
    }


def compare(
  points: Points,
  laws: Sequence[str] = DEFAULT,
  *,
  cutoffs: int = 4,
  delta: float | None = None,
  resamples: int = 300,
  level: float = 0.9,
  seed: int = 0,
) -> Comparison:
  """Scores laws on rungs larger than those they were fitted to.

  The law of the least mean absolute relative error wins only where it beats
  each other law: the difference of their errors, averaged over the cut-offs of
  each rung, keeps its sign in 95% of resamples of the rungs.

  Args:
    points: runs, as `scaling.rolling.roll` takes them.
    laws: names of at least two laws.
    cutoffs: at most so many.
    delta: Huber's; None for each law's own.
    resamples: bootstrap refits of each fit.
    level: of the intervals.
    seed: of all draws.

  Raises:
    UserError: fewer than two laws, laws of different values, or too few rungs.
  """
  laws = list(dict.fromkeys(laws))
  if len(laws) < 2:
    raise UserError(f'laws = {", ".join(laws)}: at least two to compare')
  kinds = {known_law(name).value for name in laws}
  if len(kinds) > 1:
    raise UserError(f'laws of {" and of ".join(sorted(kinds))}: compare one')
  rolled = roll(
    points,
    laws,
    cutoffs=cutoffs,
    delta=delta,
    resamples=resamples,
    level=level,
    seed=seed,
  )
  if not rolled.held:
    raise UserError(
      f'{len(points)} runs: to hold any out, {least_rungs(laws) + 1} rungs of '
      f'different FLOPs are the least for {", ".join(laws)}'
    )
  standings = {
    name: _standing([held for held in rolled.held if held.law == name])
    for name in laws
  }
  winner, reason = find_winner(rolled, standings, seed)
  return Comparison(standings, winner, reason, rolled)


def table(found: Comparison) -> str:
  """The standings in lines, the best first."""
  head = f'{"law":<24}{"median":>8}{"mean":>8}{"bias":>8}'
  head += f'{"covered":>9}{"± width":>9}{"log score":>11}{"n":>5}'
  lines = [head]
  ranked = sorted(found.standings.items(), key=lambda item: item[1].mean_error)
  for name, s in ranked:
    lines.append(
      f'{name:<24}{s.median_error:>8.2%}{s.mean_error:>8.2%}{s.bias:>8.2%}'
      f'{s.coverage:>9.0%}{s.half_width:>9.2%}{s.log_score:>11.2f}{s.n:>5}'
    )
  return '\n'.join([*lines, found.reason])


def main(argv: Sequence[str]) -> None:
  """Reads records, compares, writes the result and prints the table."""
  command.no_arguments(argv)
  args = flags.FLAGS
  laws = [known_law(name) for name in args.laws]
  if len(laws) < 2:
    raise UserError(f'--laws={",".join(args.laws)}: at least two to compare')
  points = source.read_points(
    args.records,
    source.from_flags(args),
    inputs=tuple(dict.fromkeys(n for law in laws for n in law.inputs)),
    value=laws[0].value,
    items=laws[0].items,
  )
  found = compare(points, args.laws, cutoffs=args.cutoffs)
  tree = found.to_tree()
  if args.at:
    told = forecast_all(points, _run_of(args.at), laws=args.laws)
    tree['forecast'] = told.to_tree()
  write_json(pathlib.Path(args.out), tree)
  if args.plots:
    # Matplotlib takes a second to import.
    from scaling import plot_checks, plots

    plots.write(args.plots, {'errors': plot_checks.comparison_plot(found)})
  print(table(found))
  if args.at:
    print(
      f'all of them at {", ".join(args.at)}: {told.value:.5g}, '
      f'{told.level:.0%} interval {told.lower:.5g} to {told.upper:.5g}'
    )


def _run_of(pairs: Sequence[str]) -> dict[str, float]:
  """Inputs of the run that is asked for.

  Raises:
    UserError: no name with a number.
  """
  at = {}
  for pair in pairs:
    name, _, number = pair.partition('=')
    try:
      at[name] = float(number)
    except ValueError as error:
      raise UserError(f'--at={pair}: expected such as params=1e9') from error
  return at


def _standing(held: Sequence[Held]) -> Standing:
  error = np.array([one.relative_error for one in held])
  return Standing(
    median_error=float(np.median(np.abs(error))),
    mean_error=float(np.mean(np.abs(error))),
    bias=float(np.mean(error)),
    coverage=float(np.mean([one.covered for one in held])),
    half_width=float(np.median([one.half_width for one in held])),
    log_score=float(np.mean([one.log_score for one in held])),
    n=len(held),
  )


def find_winner(
  rolled: Rolled, standings: Mapping[str, Standing], seed: int
) -> tuple[str | None, str]:
  """The law that wins by the rule of `compare`, or None; and the reason."""
  best = min(standings, key=lambda name: standings[name].mean_error)
  own = _by_rung(rolled, best)
  if len(own) < _RUNGS:
    return None, (
      f'no winner: {best} is ahead, but {len(own)} rungs were held out; '
      f'{_RUNGS} are the least for one'
    )
  rng = np.random.default_rng(seed)
  drawn_RxH = rng.integers(len(own), size=(_DRAWS, len(own)))
  for other in standings:
    if other == best:
      continue
    ahead_H = _by_rung(rolled, other) - own
    share = float(np.mean(np.mean(ahead_H[drawn_RxH], axis=1) > 0))
    if share < 0.95:
      return None, (
        f'no winner: {best} is ahead, but of {other} in {share:.0%} of '
        f'resamples of the {len(own)} rungs held out; 95% are asked for'
      )
  return best, (
    f'{best} wins: ahead of each other law in at least 95% of resamples of the '
    f'{len(own)} rungs held out'
  )


def _by_rung(rolled: Rolled, law: str) -> np.ndarray:
  """The mean absolute error of each rung over its cut-offs."""
  errors: dict[int, list[float]] = {}
  for held in rolled.held:
    if held.law == law:
      errors.setdefault(held.rung, []).append(abs(held.relative_error))
  return np.array([np.mean(errors[rung]) for rung in sorted(errors)])


if __name__ == '__main__':
  # Defined here alone: other commands of ours have flags of these names.
  source.define_flags()
  flags.adopt_module_key_flags(source)  # for --help
  flags.DEFINE_list('laws', list(DEFAULT), f'of {", ".join(LAWS)}')
  flags.DEFINE_integer('cutoffs', 4, 'at most so many', lower_bound=1)
  flags.DEFINE_list(
    'at', [], 'a run to forecast by all laws: params=1e9,tokens=2e10'
  )
  flags.DEFINE_string('out', None, 'JSON file to write', required=True)
  flags.DEFINE_string('plots', None, 'folder for figures, as PNG')
  command.run_command(main)

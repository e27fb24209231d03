"""Prints every named size as a table: `python -m model.sizes [--json]`."""

import json
from collections.abc import Sequence

from absl import app, flags

from configs import pretrain
from configs.command import run_command
from configs.sizes import SIZES
from configs.tree import to_dataclass
from model.config import ModelConfig
from model.counts import count_parameters, forward_flops_per_token


def all_sizes() -> dict[str, dict[str, int]]:
  """Counts of every size; FLOPs are forward ones at its sequence length."""
  table = {}
  for name in SIZES:
    config = pretrain.get_config(name)
    model = to_dataclass(ModelConfig, config.model, 'model.')
    counts = count_parameters(model)
    table[name] = {
      'params_total': counts.total,
      'params_non_embedding': counts.non_embedding,
      'params_active': counts.active,
      'flops_per_token': forward_flops_per_token(
        model, config.data.sequence_length
      ),
    }
  return table


def markdown() -> str:
  """The counts as a table in Markdown."""
  table = all_sizes()
  columns = list(next(iter(table.values())))
  wide = max(map(len, table))
  lines = [
    f'| {"size":<{wide}} |' + ''.join(f' {c:>20} |' for c in columns),
    '|' + '-' * (wide + 2) + '|' + ('-' * 21 + ':|') * len(columns),
  ]
  for name, counts in table.items():
    row = ''.join(f' {counts[column]:>20,} |' for column in columns)
    lines.append(f'| {name:<{wide}} |{row}')
  return '\n'.join(lines)


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  if flags.FLAGS.json:
    print(json.dumps(all_sizes(), indent=2))
  else:
    print(markdown())


if __name__ == '__main__':
  flags.DEFINE_bool('json', False, 'Print JSON instead of a table.')
  run_command(main)

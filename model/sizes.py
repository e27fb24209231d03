"""Prints every named size: `python -m model.sizes [--json]`."""

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


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  table = all_sizes()
  if flags.FLAGS.json:
    print(json.dumps(table, indent=2))
    return
  columns = list(next(iter(table.values())))
  print(f'{"size":<12}' + ''.join(f'{c:>22}' for c in columns))
  for name, counts in table.items():
    print(f'{name:<12}' + ''.join(f'{counts[c]:>22,}' for c in columns))


if __name__ == '__main__':
  flags.DEFINE_bool('json', False, 'Print JSON instead of a table.')
  run_command(main)

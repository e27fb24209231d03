"""Pre-trains one model; the same command again resumes it.

  python -m train.pretrain --config=configs/pretrain.py:nest-98k --workdir=DIR

Any key can follow, such as --config.optimizer.learning_rate=1e-3. On several
machines it runs in a process on each of them, with --distributed.
"""

import logging
from collections.abc import Sequence

from absl import app, flags
from ml_collections import config_flags

from configs.command import run_command
from train import loop, profile
from train.cpu import split_cpu
from train.processes import distributed


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  args = flags.FLAGS
  config = args.config
  with distributed.joined(args.distributed) as peers:
    split_cpu(config.mesh.data, config.data.batch_size, peers)
    if not peers.leads:
      logging.getLogger('train').setLevel(logging.ERROR)
      logging.getLogger('data').setLevel(logging.ERROR)
    result = loop.run(
      config,
      args.workdir,
      peers=peers,
      show_progress=peers.leads,
      profile=profile.parse_steps(args.profile, config.train.num_steps),
      compiled_step=args.compiled,
    )
    if peers.leads and result.finished:
      _tell(result)


def _tell(result: loop.RunResult) -> None:
  found = result.metrics
  bits = found.get('validation_bits_per_byte')
  print(
    f'{result.workdir}: {result.step} steps, validation loss '
    f'{found["validation_loss"]:.4f} nats a token'
    + (f', {bits:.4f} bits a byte' if bits is not None else '')
  )


if __name__ == '__main__':
  config_flags.DEFINE_config_file('config', None, 'configs/pretrain.py:SIZE')
  flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
  flags.DEFINE_string('distributed', 'none', distributed.FLAG)
  flags.DEFINE_string('profile', '', 'Steps to trace, START:STOP.')
  flags.DEFINE_string(
    'compiled', '', 'Step that train.compile --save has written.'
  )
  flags.mark_flag_as_required('config')
  run_command(main)

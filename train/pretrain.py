"""Pre-trains one model; the same command again resumes it.

  python -m train.pretrain --config=configs/pretrain.py:nest-98k --workdir=DIR

Any key can follow, such as --config.optimizer.learning_rate=1e-3.
"""

from collections.abc import Sequence

from absl import app, flags
from ml_collections import config_flags

from configs.command import run_command
from train import loop
from train.cpu import split_cpu


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  args = flags.FLAGS
  config = args.config
  split_cpu(config.mesh.data, config.data.batch_size)
  result = loop.run(config, args.workdir)
  if result.finished:
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
  flags.mark_flag_as_required('config')
  run_command(main)

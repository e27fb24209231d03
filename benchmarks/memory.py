"""What a step holds: `python benchmarks/memory.py --topology=v5p:2x2x1`.

Compiles the training step of a size for TPUs that are not there, once with each
policy of `model.remat` (all logits at once for the first of `--chunks`), and
then with the last policy for each other number of chunks. Of each device it
tells, in units of 1e9:

- held: bytes of temporaries at the fullest moment, by XLA's buffers.
- temporaries: what `memory_analysis` calls so, which is more.
- host: bytes in the memory of the host.
- flops: floating-point operations, a loop's body counted once.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence

from absl import app, flags
from jax.experimental import topologies

from configs import pretrain
from configs.tree import to_dataclass, with_overrides
from data.batch import BatchShape
from model.config import REMAT_POLICIES
from train import program
from train.config import RunConfig, StepConfig
from train.mesh.config import MeshConfig
from train.mesh.sharding import make_mesh

_ROW = '{:>8} {:>6} {:>8} {:>12} {:>8} {:>10}'


def main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unexpected arguments: {argv[1:]}')
  args = flags.FLAGS
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  devices = topologies.get_topology_desc(
    platform='tpu', topology_name=args.topology
  ).devices
  overrides = {
    'model.scan_layers': True,
    'model.compute_dtype': 'bfloat16',
    'data.batch_size': args.rows * len(devices),
  }
  config = to_dataclass(
    RunConfig, with_overrides(pretrain.get_config(args.size), overrides)
  )
  titles = 'remat', 'chunks', 'held', 'temporaries', 'host', 'flops'
  print(_ROW.format(*titles))
  chunks = [int(number) for number in args.chunks]
  for remat, number in _cases(args.policies, chunks):
    shape = BatchShape(config.data.batch_size, config.data.sequence_length)
    compiled = program.lower(
      dataclasses.replace(config.model, remat=remat),
      config.optimizer,
      StepConfig(loss_chunks=number),
      shape,
      make_mesh(MeshConfig(1, len(devices), 1), devices),
    ).train_step.compile()
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis()
    sizes = (
      memory.peak_memory_in_bytes - memory.argument_size_in_bytes,
      memory.temp_size_in_bytes,
      memory.host_temp_size_in_bytes,
      costs['flops'],
    )
    in_billions = [f'{size / 1e9:.3f}' for size in sizes]
    print(_ROW.format(remat, number, *in_billions), flush=True)


def _cases(
  policies: Sequence[str], chunks: Sequence[int]
) -> Iterator[tuple[str, int]]:
  for policy in policies:
    yield policy, chunks[0]
  for number in chunks[1:]:
    yield policies[-1], number


if __name__ == '__main__':
  flags.DEFINE_string('size', 'gpt3-125m', 'Of configs/sizes.py.')
  flags.DEFINE_string('topology', 'v5p:2x2x1', 'Devices, all along fsdp.')
  flags.DEFINE_integer('rows', 4, 'Of a batch, for each device.')
  flags.DEFINE_list('policies', list(REMAT_POLICIES), 'Of model.remat.')
  flags.DEFINE_list('chunks', ['1', '8'], 'Of train.loss_chunks.')
  app.run(main)

"""Compiles a training step for TPUs that are not there, and tells its costs.

  python -m train.compile --config=configs/pretrain.py:gpt3-6.7b \\
    --topology=v5p:2x2x1 --config.mesh.data=1 --config.mesh.fsdp=-1 \\
    --config.model.compute_dtype=bfloat16 --config.model.remat=full \\
    --config.model.scan_layers=True --config.data.batch_size=16 --out=FILE.json

It takes libtpu, of the extra `tpu`, and no TPU. No text is read.
docs/compile.md tells what the numbers mean. Exit codes: 0 where the step fits
into memory, 2 where it does not: the file says so all the same.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from configs.command import no_arguments, run_command
from configs.errors import UserError
from configs.files import check_writable, write_json
from train.ahead import topology as topologies
from train.ahead.compiling import describe
from train.ahead.job import make_job
from train.ahead.report import table, verdict
from train.ahead.search import nearest_that_fits, ranked, search
from train.mesh.layout import layout_table


def compile_step(
  config: ConfigDict,
  topology: str,
  *,
  num_slices: int = 1,
  search_compiles: int = 0,
  save: pathlib.Path | str | None = None,
  show: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
  """Compiles the step of a config for a topology.

  Where it is too large, the nearest setting is looked for that is not: the
  `suggestion`. Nothing of JAX may have asked for devices before, or
  `JAX_PLATFORMS` must have been `cpu`.

  Args:
    config: as `configs.pretrain.get_config` makes it.
    topology: kind and grid of one slice, such as v5p:2x2x1.
    num_slices: slices; `mesh.dcn_*` says which axis extends over them.
    search_compiles: how many settings a search compiles; 0 = no search.
    save: file for the compiled step (`train.compiled`), where it fits.
    show: told how the state is laid out before it is compiled.

  Returns:
    A tree for JSON; docs/compile.md tells of its keys. Sizes, FLOPs and seconds
    are those of one device and one step.

  Raises:
    UserError: the config cannot work on these devices, or libtpu is missing.
  """
  grid = topologies.parse(topology, num_slices)
  devices = topologies.devices(grid)
  job = make_job(config, devices)
  show(layout_table(job.abstract_state()))
  result = describe(job, grid, save)
  if search_compiles:
    own = ranked({}, result)
    result['search'] = search(config, devices, grid, search_compiles, own)
  if not result['fits']:
    best = result['search']['compiled'][:1] if search_compiles else []
    if best and best[0]['fits']:
      result['suggestion'] = {
        key: best[0][key] for key in ('overrides', 'total')
      }
    else:
      result['suggestion'] = nearest_that_fits(
        config, devices, grid.tpu.hbm_bytes
      )
  return result


def main(argv: Sequence[str]) -> None:
  no_arguments(argv)
  args = flags.FLAGS
  for flag, path in {'out': args.out, 'save': args.save}.items():
    if path is not None:
      check_writable(path, flag)
  # Keys and constants live there; the TPUs are only compiled for.
  jax.config.update('jax_platforms', 'cpu')
  result = compile_step(
    args.config,
    args.topology,
    num_slices=args.num_slices,
    search_compiles=args.search_compiles if args.search else 0,
    save=args.save,
    show=print,
  )
  write_json(pathlib.Path(args.out), result)
  print(table(result))
  if not result['fits']:
    raise UserError(verdict(result))


if __name__ == '__main__':
  config_flags.DEFINE_config_file('config', None, 'configs/pretrain.py:SIZE')
  flags.DEFINE_string(
    'topology', None, 'Kind and chips of a slice: v5p:2x2x1.', required=True
  )
  flags.DEFINE_string('out', None, 'File for the JSON.', required=True)
  flags.DEFINE_integer('num_slices', 1, 'Slices between which is a network.')
  flags.DEFINE_bool(
    'search', False, 'Try meshes, micro-batches and remat, and rank them.'
  )
  flags.DEFINE_integer(
    'search_compiles', 12, 'Settings that a search compiles.', lower_bound=1
  )
  flags.DEFINE_string('save', None, 'File for the compiled step.')
  flags.mark_flag_as_required('config')
  run_command(main)

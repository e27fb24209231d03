"""What a compilation for absent TPUs found, for people to read."""

from collections.abc import Mapping
from typing import Any

_SPLIT = ('parameters', 'optimizer', 'batch', 'activations')


def verdict(result: Mapping[str, Any]) -> str:
  """One line: whether a step fits, by how much, and what would.

  Args:
    result: of `train.compile.compile_step`, perhaps with a `suggestion`.
  """
  total = result['hbm_bytes']['total']
  capacity = result['capacity_bytes']
  sizes = f'needs {_gb(total)} of {_gb(capacity)} a device'
  if result['fits']:
    return f'{sizes}: it fits'
  line = f'{sizes}, {_gb(total - capacity)} too much'
  found = result.get('suggestion')
  if found is None:
    return line
  if not found['overrides']:
    return f'{line}; nothing that was tried fits: take more chips'
  flags = ' '.join(
    f'--config.{key}={value}' for key, value in found['overrides'].items()
  )
  return f'{line}; with {flags} it needs {_gb(found["total"])} and fits'


def table(result: Mapping[str, Any]) -> str:
  """A table of all numbers, and one of a search where there is one."""
  rows = [
    ('topology', _topology(result)),
    ('mesh', _mesh(result['mesh'])),
    ('memory', verdict(result)),
  ]
  sizes = result['hbm_bytes']
  for key in ('arguments', 'temporaries', *_SPLIT):
    if sizes[key] is not None:
      rows.append((f'  {key}', _gb(sizes[key])))
  if result['fits']:
    rows += _speed(result)
  wide = max(len(name) for name, _ in rows)
  lines = [f'{name:<{wide}}  {value}' for name, value in rows]
  if 'search' in result:
    lines += ['', *_searched(result['search'])]
  return '\n'.join(lines)


def _topology(result: Mapping[str, Any]) -> str:
  slices = result['num_slices']
  times = f'{slices} x ' if slices > 1 else ''
  return f'{times}{result["topology"]}, {result["num_devices"]} devices'


def _mesh(mesh: Mapping[str, int]) -> str:
  told = [f'{axis} {size}' for axis, size in mesh.items() if size > 1]
  return ', '.join(told) or 'one device'


def _speed(result: Mapping[str, Any]) -> list[tuple[str, str]]:
  bounds = result['roofline_seconds'].items()
  rows = [
    ('FLOPs', f'{result["flops"]:.4g} in products'),
    ('  in kernels', f'{result["kernel_flops"]:.4g}'),
    ('  of the model', f'{result["model_flops"]:.4g}'),
    ('step', f'{result["step_seconds"]:.4g} s'),
    ('  compute alone', f'{result["modelled_seconds"]:.4g} s'),
    ('  at least', ', '.join(f'{key} {s:.4g} s' for key, s in bounds)),
    ('MFU', f'{result["mfu"]:.1%}, at most {result["mfu_bound"]:.1%}'),
  ]
  for kind, found in result['collectives'].items():
    rows.append((kind, f'{found["count"]:,} of {_gb(found["bytes"])} in all'))
  return rows


def _searched(search: Mapping[str, Any]) -> list[str]:
  lines = [
    f'{search["candidates"]} settings: {search["impossible"]} do not divide, '
    f'{search["too_large"]} are too large by arithmetic, '
    f'{len(search["compiled"])} were compiled'
  ]
  for entry in search['compiled']:
    flags = ' '.join(
      f'{key.rpartition(".")[2]}={value}'
      for key, value in entry['overrides'].items()
    )
    flags = flags or 'as given'
    told = (
      f'{entry["step_seconds"]:.4g} s, MFU {entry["mfu"]:.1%}'
      if entry['fits']
      else 'too large'
    )
    lines.append(f'  {flags}: {_gb(entry["total"])}, {told}')
  return lines


def _gb(size: float) -> str:
  return f'{size / 1e9:.1f} GB' if size >= 1e8 else f'{size / 1e6:.3g} MB'

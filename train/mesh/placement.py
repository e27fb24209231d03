"""How arrays are laid out over a mesh: a strategy, and exceptions from it."""

import dataclasses
import re

from configs.errors import UserError, choose
from train.mesh.rules import MESH_AXES, STRATEGIES, Rules

_NONE = 'none'


@dataclasses.dataclass(frozen=True)
class Override:
  """The mesh axes of some parameters, whatever the strategy says of them.

  Attributes:
    key: where it was configured, and the text, for errors.
    pattern: a regular expression of the last names of a parameter's path,
      joined by '.': `decoder.layers.ffn.up.kernel`, or just `ffn.(up|gate)..*`.
    axes: for each dimension of the array the mesh axes that divide it. What is
      stacked over layers has them as its first dimension.
  """

  key: str
  pattern: str
  axes: tuple[tuple[str, ...], ...]

  def matches(self, path: str) -> bool:
    """Whether it is of the parameter with this path."""
    return _regex(self.pattern).fullmatch(path) is not None


@dataclasses.dataclass(frozen=True)
class Placement:
  """Which mesh axes divide each array, for a mesh of any size.

  Attributes:
    strategy: a key of `train.mesh.rules.STRATEGIES`.
    overrides: of parameters, and of the optimizer's state of their shape; the
      first that matches a path holds.
  """

  strategy: str = 'fsdp'
  overrides: tuple[Override, ...] = ()

  @property
  def rules(self) -> Rules:
    """The tables of the strategy."""
    return STRATEGIES[self.strategy]


DEFAULT = Placement()


def parse(strategy: str, overrides: tuple[str, ...]) -> Placement:
  """The placement of `mesh.strategy` and `mesh.overrides`.

  An override is `PATTERN: AXES, AXES...` with one entry for each dimension of
  the array: mesh axes joined by `+`, or `none`. `embedding.table: tensor, fsdp`
  is what the strategy `fsdp` does anyway.

  Raises:
    UserError: an unknown strategy or mesh axis, an axis that is named twice, or
      text that is no override.
  """
  choose('mesh.strategy', strategy, STRATEGIES)
  return Placement(
    strategy,
    tuple(
      _override(f'mesh.overrides[{number}] = {text!r}', text)
      for number, text in enumerate(overrides)
    ),
  )


def _override(key: str, text: str) -> Override:
  pattern, colon, entries = text.rpartition(':')
  pattern = pattern.strip()
  if not (colon and pattern and entries.strip()):
    raise UserError(
      f"{key}: expected 'PATTERN: AXES, AXES...', such as 'embedding.table: "
      "tensor, fsdp'"
    )
  try:
    _regex(pattern)
  except re.error as error:
    raise UserError(
      f'{key}: {pattern!r} is no regular expression: {error}'
    ) from error
  axes = tuple(_entry(key, entry) for entry in entries.split(','))
  named = [axis for entry in axes for axis in entry]
  twice = sorted({axis for axis in named if named.count(axis) > 1})
  if twice:
    raise UserError(
      f'{key}: {" and ".join(twice)} twice; a mesh axis divides one dimension'
    )
  return Override(key, pattern, axes)


def _regex(pattern: str) -> re.Pattern[str]:
  """Of paths that end in a pattern, after whole names."""
  return re.compile(rf'(?:.*\.)?(?:{pattern})')


def _entry(key: str, text: str) -> tuple[str, ...]:
  names = tuple(name.strip() for name in text.split('+'))
  if names == (_NONE,):
    return ()
  for name in names:
    if name not in MESH_AXES:
      raise UserError(
        f'{key}: no mesh axis {name!r}; choose from {", ".join(MESH_AXES)}, '
        f'joined by +, or {_NONE}'
      )
  return names

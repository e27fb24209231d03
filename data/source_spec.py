"""How a source of text is written down: `KIND:NAME|key=value|...`."""

import dataclasses
from collections.abc import Mapping, Sequence

from configs.errors import UserError
from data.splits import SPLITS

TEXT = 'text'  # the field of a row that is read, by whatever name it came
_SEPARATOR = '|'
_NEXT = ';'


@dataclasses.dataclass(frozen=True)
class SourceSpec:
  """One source, parsed.

  Attributes:
    kind: of `data.sources.KINDS`, such as 'tfds' or 'files'.
    name: what the kind makes of it: a data set, a glob.
    fields: of a row, whose values, joined by a newline, are its text.
    splits: (split, what the kind calls it), for those that were given.
  """

  kind: str
  name: str
  fields: tuple[str, ...] = (TEXT,)
  splits: tuple[tuple[str, str], ...] = ()

  def __str__(self) -> str:
    """The source as it is written in `data.source`."""
    parts = [f'{self.kind}:{self.name}']
    if self.fields != (TEXT,):
      parts.append(f'{TEXT}={",".join(self.fields)}')
    parts += [f'{split}={value}' for split, value in self.splits]
    return _SEPARATOR.join(parts)


def parse(
  text: str, presets: Mapping[str, str] | None = None
) -> tuple[SourceSpec, ...]:
  """Reads `data.source`: one source, or several of a mixture, parted by `;`.

  Args:
    text: each source is `KIND:NAME`, or a name in `presets`, and then options:
      `|text=FIELD[,FIELD]`, `|train=...`, `|validation=...`, `|test=...`.
    presets: one source or several by name, written in the same way.

  Raises:
    UserError: what is no source, or an option that there is not.
  """
  specs: list[SourceSpec] = []
  for part in text.split(_NEXT):
    name, *options = part.strip().split(_SEPARATOR)
    if not name:
      raise UserError(f'data.source = {text!r}: expected KIND:NAME[;KIND:NAME]')
    written = (presets or {}).get(name, name)
    # options that were given come last, and win
    specs += (
      _parse_one([*source.split(_SEPARATOR), *options], presets or {})
      for source in written.split(_NEXT)
    )
  repeated = [str(spec) for spec in specs if specs.count(spec) > 1]
  if repeated:
    raise UserError(f'data.source: {repeated[0]} is there twice')
  return tuple(specs)


def families(presets: Mapping[str, str]) -> str:
  """Names of presets for a message: those that share a stem are told once."""
  stems = (name.partition('/') for name in presets)
  shown = (f'{stem}/...' if slash else stem for stem, slash, _ in stems)
  return ', '.join(dict.fromkeys(shown))


def _parse_one(parts: Sequence[str], presets: Mapping[str, str]) -> SourceSpec:
  head, *options = parts
  kind, colon, name = head.partition(':')
  if not colon or not kind or not name:
    known = f', or one of {families(presets)}' if presets else ''
    raise UserError(f'data.source: {head!r} is not KIND:NAME{known}')
  given: dict[str, str] = {}
  for option in options:
    key, equals, value = option.partition('=')
    if key not in (TEXT, *SPLITS) or not equals or not value:
      raise UserError(
        f'data.source: {option!r} of {head}: expected one of '
        + ', '.join(f'{k}=...' for k in (TEXT, *SPLITS))
      )
    given[key] = value
  fields = tuple(given.pop(TEXT, TEXT).split(','))
  splits = tuple((split, given[split]) for split in SPLITS if split in given)
  return SourceSpec(kind, name, fields, splits)

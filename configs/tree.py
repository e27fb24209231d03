"""Edits, sweeps, digests and typed views of configuration trees."""

import dataclasses
import difflib
import hashlib
import itertools
import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

from configs.errors import UserError

T = TypeVar('T')


def with_overrides(
  config: ConfigDict, overrides: Mapping[str, Any]
) -> ConfigDict:
  """Returns a locked copy of `config` with dotted keys replaced.

  `with_overrides(c, {'optimizer.learning_rate': 1e-3})` is the same as
  `--config.optimizer.learning_rate=1e-3` on a command line.

  Raises:
    UserError: a key that `config` does not have, or a value of another type.
  """
  edited = ConfigDict(config.to_dict()).lock()
  for key, value in overrides.items():
    *parents, leaf = key.split('.')
    node: Any = edited
    for part in parents:
      node = node.get(part) if isinstance(node, ConfigDict) else None
    if not isinstance(node, ConfigDict) or leaf not in node:
      raise UserError(_unknown_key(key, flatten(edited)))
    try:
      node[leaf] = value
    except (TypeError, ValueError) as error:
      raise UserError(
        f'{key} = {value!r}: expected {type(node[leaf]).__name__}, '
        f'such as {node[leaf]!r}'
      ) from error
  return edited


def product(axes: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
  """Every combination of the values of `axes`, as overrides, last fastest.

  `product({'train.seed': [0, 1], 'data.seed': [7]})` gives two overrides.
  """
  names = list(axes)
  return [
    dict(zip(names, values, strict=True))
    for values in itertools.product(*(list(axes[name]) for name in names))
  ]


def flatten(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
  """Maps every dotted key of a tree to its leaf value."""
  flat: dict[str, Any] = {}
  for key, value in config.items():
    if isinstance(value, ConfigDict | Mapping):
      flat |= {f'{key}.{k}': v for k, v in flatten(value).items()}
    else:
      flat[key] = value
  return flat


def differences(
  old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
  """Yields the dotted keys, in order, whose leaf values differ, and these.

  A key that a tree does not have is None there.
  """
  flat_old, flat_new = flatten(old), flatten(new)
  for key in sorted(flat_old.keys() | flat_new.keys()):
    if flat_old.get(key) != flat_new.get(key):
      yield key, flat_old.get(key), flat_new.get(key)


def digest(tree: Any) -> str:
  """The first 16 hex digits of the SHA-256 of a JSON-able tree."""
  text = json.dumps(tree, sort_keys=True, separators=(',', ':'))
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_dataclass(
  cls: type[T], node: ConfigDict | Mapping[str, Any], path: str = ''
) -> T:
  """Builds a frozen dataclass from a tree with exactly its fields.

  Nested dataclasses are built from sub-trees, lists become tuples, an int is
  taken where a float is meant. `validate()` is called on each where it exists.
  A field with a default may be missing: it is younger than some checkpoints,
  which keep the config of their time.

  Raises:
    UserError: a key missing, unknown or of the wrong type, or what `validate`
      raises.
  """
  hints = typing.get_type_hints(cls)
  fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
  names = list(fields)
  for key in node:
    if key not in names:
      raise UserError(_unknown_key(path + key, [path + n for n in names]))
  values = {}
  for name in names:
    if name not in node:
      if fields[name].default is not dataclasses.MISSING:
        continue
      raise UserError(f'{path}{name} is missing from the config')
    values[name] = _typed(hints[name], node[name], path + name)
  built = cls(**values)
  if hasattr(built, 'validate'):
    built.validate()
  return built


def defaults(cls: Any) -> dict[str, Any]:
  """Maps the dotted key of every field that has a default to it.

  Args:
    cls: a dataclass, of which fields may be dataclasses themselves.
  """
  hints = typing.get_type_hints(cls)
  found: dict[str, Any] = {}
  for field in dataclasses.fields(cls):
    hint, value = hints[field.name], typing.cast(Any, field.default)
    if dataclasses.is_dataclass(hint):
      missing = value is dataclasses.MISSING
      inner = defaults(hint) if missing else dataclasses.asdict(value)
      found |= {f'{field.name}.{k}': v for k, v in flatten(inner).items()}
    elif value is not dataclasses.MISSING:
      found[field.name] = value
  return found


def _typed(hint: Any, value: Any, key: str) -> Any:
  if dataclasses.is_dataclass(hint) and isinstance(hint, type):
    if not isinstance(value, ConfigDict | Mapping):
      raise UserError(f'{key} = {value!r}: expected a section with keys')
    return to_dataclass(hint, value, key + '.')
  origin = typing.get_origin(hint)
  if origin in (typing.Union, types.UnionType):
    for option in typing.get_args(hint):
      if option is type(None) and value is None:
        return None
    options = [o for o in typing.get_args(hint) if o is not type(None)]
    return _typed(options[0], value, key)
  if origin is tuple:
    if not isinstance(value, list | tuple):
      raise UserError(f'{key} = {value!r}: expected a list')
    item = typing.get_args(hint)[0]
    return tuple(_typed(item, v, f'{key}[{i}]') for i, v in enumerate(value))
  if hint is float and isinstance(value, int) and not isinstance(value, bool):
    return float(value)
  wrong_bool = isinstance(value, bool) and hint is not bool
  if wrong_bool or not isinstance(value, hint):
    raise UserError(f'{key} = {value!r}: expected {hint.__name__}')
  return value


def _unknown_key(key: str, known: Iterable[str]) -> str:
  near = difflib.get_close_matches(key, list(known), n=3, cutoff=0.5)
  hint = f'did you mean {" or ".join(near)}?' if near else 'see configs/'
  return f'{key} is no key of this config; {hint}'

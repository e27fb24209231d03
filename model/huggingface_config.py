"""Hugging Face's `config.json`, and our model section.

Pure functions of plain dictionaries; `model.huggingface_families` has what they
know of each family.
"""

from typing import Any

from configs.errors import UserError
from model.config import ModelConfig
from model.huggingface_families import FAMILIES, Family, Tree, required


def from_theirs(theirs: Tree) -> dict[str, Any]:
  """Values of our `model` section, without its prefix.

  Args:
    theirs: the content of a config.json.

  Raises:
    UserError: a family that we do not have, or a variant of one.
  """
  family = _family(theirs.get('model_type', ''))
  theirs = {**family.defaults, **theirs}
  ours = dict(family.fixed)
  for key, name in family.fields.items():
    ours[key] = required(theirs, name)
  for key, (name, words) in family.choices.items():
    word = required(theirs, name)
    known = {theirs: ours for ours, theirs in words.items()}
    if word not in known:
      raise UserError(
        f'{name} = {word!r} of config.json: choose from '
        + ', '.join(map(repr, known))
      )
    ours[key] = known[word]
  return ours | family.read(theirs)


def to_theirs(model_type: str, config: ModelConfig) -> dict[str, Any]:
  """The content of a config.json.

  Raises:
    UserError: a family that we do not have, or a model that is none of it.
  """
  family = _family(model_type)
  for key, value in family.fixed.items():
    if getattr(config, key) != value:
      raise UserError(
        f'model.{key} = {getattr(config, key)!r}: a {model_type} has {value!r}'
      )
  theirs: dict[str, Any] = {'model_type': model_type}
  for key, name in family.fields.items():
    theirs[name] = getattr(config, key)
  for key, (name, words) in family.choices.items():
    value = getattr(config, key)
    if value not in words:
      raise UserError(
        f'model.{key} = {value!r}: a {model_type} has one of '
        + ', '.join(map(repr, words))
      )
    theirs[name] = words[value]
  theirs |= family.write(config)
  again = from_theirs(theirs)
  for key, value in again.items():
    if getattr(config, key) != value:
      raise UserError(
        f'model.{key} = {getattr(config, key)!r}: a {model_type} of this shape '
        f'has {value!r}'
      )
  return theirs


def family_of(config: ModelConfig) -> str:
  """The `model_type` that a model of ours can be exported as.

  Raises:
    UserError: none is like it.
  """
  told = []
  for name in FAMILIES:
    try:
      to_theirs(name, config)
    except UserError as error:
      told.append(f'{name}: {error}')
      continue
    return name
  raise UserError(
    'no family of Hugging Face is like this model; ' + '; '.join(told)
  )


def _family(model_type: str) -> Family:
  if model_type not in FAMILIES:
    raise UserError(
      f'model_type = {model_type!r}: choose from {", ".join(FAMILIES)}'
    )
  return FAMILIES[model_type]

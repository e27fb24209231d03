"""The laws by name."""

from configs.errors import UserError
from scaling.law import Law
from scaling.laws.chinchilla import CHINCHILLA, OVER_TRAINING
from scaling.laws.score import SIGMOID

LAWS: dict[str, Law] = {
  law.name: law for law in (CHINCHILLA, OVER_TRAINING, SIGMOID)
}


def known_law(name: str) -> Law:
  """The law of a name.

  Raises:
    UserError: there is none.
  """
  if name not in LAWS:
    raise UserError(f'law = {name!r}: choose from {", ".join(LAWS)}')
  return LAWS[name]

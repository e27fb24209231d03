"""The laws by name."""

from configs.errors import choose
from scaling.law import Law
from scaling.laws.broken import BROKEN
from scaling.laws.chinchilla import CHINCHILLA, OVER_TRAINING
from scaling.laws.direct import DIRECT, DIRECT_COMPUTE
from scaling.laws.kaplan import (
  KAPLAN,
  KAPLAN_COMPUTE,
  KAPLAN_COMPUTE_OFFSET,
  KAPLAN_OFFSET,
  KAPLAN_PARAMS,
  KAPLAN_PARAMS_OFFSET,
  KAPLAN_TOKENS,
  KAPLAN_TOKENS_OFFSET,
)
from scaling.laws.moe import MOE
from scaling.laws.regression import STEP_BATCH, STEP_LEARNING_RATE, TRANSFER
from scaling.laws.repeated import REPEATED
from scaling.laws.score import EXPONENTIAL_ERROR, SIGMOID

LAWS: dict[str, Law] = {
  law.name: law
  for law in (
    CHINCHILLA,
    OVER_TRAINING,
    KAPLAN,
    KAPLAN_OFFSET,
    KAPLAN_PARAMS,
    KAPLAN_PARAMS_OFFSET,
    KAPLAN_TOKENS,
    KAPLAN_TOKENS_OFFSET,
    KAPLAN_COMPUTE,
    KAPLAN_COMPUTE_OFFSET,
    REPEATED,
    *BROKEN,
    MOE,
    TRANSFER,
    STEP_LEARNING_RATE,
    STEP_BATCH,
    SIGMOID,
    EXPONENTIAL_ERROR,
    DIRECT,
    DIRECT_COMPUTE,
  )
}


def known_law(name: str) -> Law:
  """The law of a name.

  Raises:
    UserError: there is none.
  """
  choose('law', name, LAWS)
  return LAWS[name]

"""Multiple choice by likelihood, with worked examples before the question."""

import math
from collections.abc import Sequence

import numpy as np

from configs.errors import UserError
from data.tasks import Choice
from evals.likelihood import log_likelihoods
from evals.scores import Score, accuracy, ratio
from train.pretrained import Pretrained, check_decoder

_BETWEEN = '\n\n'  # worked examples


def evaluate(
  pretrained: Pretrained,
  items: Sequence[Choice],
  worked: Sequence[Choice] = (),
  shots: int = 0,
  seed: int = 0,
) -> dict[str, Score]:
  """Scores a model on items; see `scores_of`.

  Args:
    pretrained: the model.
    items: questions.
    worked: of another split, where worked examples are drawn from.
    shots: worked examples before each question.
    seed: of which ones.

  Raises:
    UserError: fewer than two items, fewer worked examples than `shots`, or a
      model that is no decoder.
  """
  check_decoder(pretrained)
  contexts = prompts(items, worked, shots, seed)
  pairs = [
    (context, choice)
    for context, item in zip(contexts, items, strict=True)
    for choice in item.choices
  ]
  alone = [('', choice) for _, choice in pairs]
  nats = log_likelihoods(pretrained, pairs + alone)
  return scores_of(items, nats[: len(pairs)], nats[len(pairs) :])


def prompts(
  items: Sequence[Choice], worked: Sequence[Choice], shots: int, seed: int
) -> list[str]:
  """The context of each item, behind `shots` worked examples of its own.

  A worked example is its context and its right choice, as in running text; an
  empty line stands between. Which ones are drawn, without repetition, depends
  on the seed and the item's number alone. A model that takes fewer tokens loses
  the first examples (see `evals.likelihood`).

  Raises:
    UserError: fewer worked examples than `shots`.
  """
  if len(worked) < shots:
    raise UserError(
      f'shots = {shots}: there are only {len(worked)} worked examples'
    )
  solved = [item.context + item.choices[item.answer] for item in worked]
  contexts = []
  for number, item in enumerate(items):
    random = np.random.default_rng((seed, number))
    drawn = random.choice(len(solved), shots, replace=False) if shots else ()
    contexts.append(_BETWEEN.join([*(solved[i] for i in drawn), item.context]))
  return contexts


def scores_of(
  items: Sequence[Choice],
  log_likelihoods: np.ndarray,
  log_likelihoods_alone: np.ndarray,
) -> dict[str, Score]:
  """What the likelihoods of the choices say.

  `acc`: share of items whose right choice is the likeliest; `acc_norm`: the
  likeliest for its length in bytes of UTF-8; `acc_mutual_info`: the one whose
  log-likelihood the context raises the most (Holtzman et al. 2021,
  arXiv:2104.08315), which takes off that some texts are likely anywhere. A tie
  counts as the first choice. `bits_per_byte`: of the right choices, sum of
  -log2 p / sum of bytes.

  Args:
    items: questions.
    log_likelihoods: in nats, of all choices of the first item, of all of the
      second, and so on.
    log_likelihoods_alone: of the same choices without a context.

  Raises:
    UserError: fewer than two items.
  """
  right, right_per_byte, right_by_context = [], [], []
  bits, sizes = [], []
  start = 0
  for item in items:
    own = slice(start, start + len(item.choices))
    nats, alone = -log_likelihoods[own], -log_likelihoods_alone[own]
    num_bytes = np.array([len(choice.encode()) for choice in item.choices])
    right.append(np.argmin(nats) == item.answer)
    right_per_byte.append(np.argmin(nats / num_bytes) == item.answer)
    right_by_context.append(np.argmin(nats - alone) == item.answer)
    bits.append(nats[item.answer] / math.log(2))
    sizes.append(num_bytes[item.answer])
    start += len(item.choices)
  return {
    'acc': accuracy(np.array(right)),
    'acc_norm': accuracy(np.array(right_per_byte)),
    'acc_mutual_info': accuracy(np.array(right_by_context)),
    'bits_per_byte': ratio(np.array(bits), np.array(sizes)),
  }

"""What the model of a run reads of a text."""

from configs.errors import UserError
from data.recipe import Recipe, make_recipe
from data.tokenizer import Tokenizer
from train.config import RunConfig


def recipe_of(config: RunConfig, tokenizer: Tokenizer) -> Recipe:
  """The recipe of a run's objective, model and lengths.

  Raises:
    UserError: the model has no row for a token, or does not go with the
      objective.
  """
  model = config.model
  if tokenizer.vocab_size > model.vocab_size:
    raise UserError(
      f'model.vocab_size = {model.vocab_size}: the tokenizer, data.tokenizer = '
      f'{config.data.tokenizer!r}, has {tokenizer.vocab_size} tokens'
    )
  return make_recipe(
    config.data, tokenizer, model.architecture, model.start_token
  )

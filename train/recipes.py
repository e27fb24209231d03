"""What the model of a run reads of a text."""

from configs.errors import UserError
from data.objectives import check_architecture
from data.recipe import Recipe, make_recipe
from data.tokenizer import Tokenizer
from train.config import RunConfig
from train.losses import check_head


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
  recipe = make_recipe(
    config.data, tokenizer, model.architecture, model.start_token
  )
  longest = max(recipe.shape.length, recipe.shape.source_length)
  if model.positions == 'learned' and longest > model.max_length:
    raise UserError(
      f'model.max_length = {model.max_length} learned positions: a row has '
      f'{longest}; raise it, or lower data.sequence_length'
    )
  return recipe


def check_objective(config: RunConfig) -> None:
  """Looks whether a model can learn what is asked, before there is any text.

  Raises:
    UserError: the objective is none for this architecture, or the model has no
      head for it.
  """
  check_head(config.model)
  check_architecture(config.data.objective.kind, config.model.architecture)

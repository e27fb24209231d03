"""How scales and learning rates follow width and depth, so that one recipe
serves all sizes.

`standard`: one learning rate; the best one falls as models grow.

`mup` (maximal update, Yang et al. 2022, arXiv:2203.03466, table 8): with m =
width / base_width, matrices inside the network learn at 1 / m of the rate, the
logits are divided by m, and attention scores are q k^T * Dh0^(1/2) / Dh with
Dh0 the base_head_width. Then activations, and what an update changes in them,
keep their size at any width, and so the best learning rate stays. `ffn_width`
and what the heads make up are meant to grow with the width.

`depth_mup` (Yang et al. 2023, arXiv:2310.02244) and `complete_p` (Dey et al.
2025, arXiv:2505.01618) hold the depth, too: with l = num_layers / base_layers,
what a layer adds to the stream is multiplied by l^-a, and the layers' rates by
l^(a - 1), where a is 1/2 and 1.

At the base width, head width and depth all four are the same model with the
same rates. Weight decay is not scaled: rate times decay is the same at any
size. Nor is Adam's epsilon: it is meant to be far below the gradients.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from configs.errors import UserError
from model.config import ModelConfig

# `mup` leaves the depth to the standard.
_DEPTH_POWERS = {'depth_mup': 0.5, 'complete_p': 1.0}

# What learns at the common rate at any width: not a product over the width.
_TABLES = frozenset({'table', 'positions', 'types', 'head'})
_VECTORS = frozenset({'scale', 'bias', 'relative_bias', 'head_bias'})


def attention_scale(config: ModelConfig) -> float:
  """What products of queries and keys are multiplied by."""
  c = config
  if c.attention_scale == 'none':
    return 1.0
  if c.parametrization == 'standard':
    return c.head_width**-0.5
  return c.base_head_width**0.5 / c.head_width


def logit_scale(config: ModelConfig) -> float:
  """What products of states and rows of the output head are multiplied by."""
  return 1 / _width_ratio(config)


def branch_scale(config: ModelConfig) -> float:
  """What each attention or feed-forward layer's output is multiplied by."""
  power = _DEPTH_POWERS.get(config.parametrization, 0.0)
  return _depth_ratio(config) ** -power


def residual_scale(config: ModelConfig) -> float:
  """1 / sqrt(2 N), of initial kernels that add to the residual stream.

  Each of N layers adds to it twice, so its variance stays of the order of the
  embedding's (Radford et al. 2019, GPT-2, section 2.3). Where `branch_scale`
  sees to that, N is the base's.
  """
  held = config.parametrization in _DEPTH_POWERS
  return (2 * (config.base_layers if held else config.num_layers)) ** -0.5


def learning_rates(config: ModelConfig, params: Any) -> Any:
  """A multiplier of the learning rate for each leaf of a tree of parameters.

  Args:
    config: of the model.
    params: of the model, or of a larger one that has it as a part.
  """
  power = _DEPTH_POWERS.get(config.parametrization, 1.0)
  layer_rate = _depth_ratio(config) ** (power - 1)
  matrix_rate = 1 / _width_ratio(config)

  def one(path: Any, _: Any) -> float:
    *parents, name = _names(path)
    rate = 1.0 if name in _TABLES | _VECTORS else matrix_rate
    return rate * layer_rate if 'layers' in parents else rate

  return jax.tree_util.tree_map_with_path(one, params)


def as_standard(
  config: ModelConfig,
) -> tuple[ModelConfig, Callable[[str], float]]:
  """A standard model that computes the same, once its parameters are scaled.

  Returns:
    Its config, and from a parameter's path, keys joined by '/', to what the
    parameter is multiplied by.

  Raises:
    UserError: the head is tied, and logits are scaled: a table cannot be both.
  """
  standard = dataclasses.replace(config, parametrization='standard')
  if config.tied_head and logit_scale(config) != 1:
    raise UserError(
      'model.tied_head = True: logits of this width are multiplied by '
      f'{logit_scale(config):.3g} ({config.parametrization}), which the '
      'embedding cannot be'
    )
  scores = attention_scale(config) / attention_scale(standard)
  queries = 'query_norm' if config.qk_norm else 'query'

  def factor(path: str) -> float:
    *parents, name = path.split('/')
    module = parents[-1] if parents else ''
    if name == 'head':
      return logit_scale(config)
    if module == queries:
      return scores
    if 'layers' in parents and {'out', 'down'} & {module, name}:
      return branch_scale(config)
    return 1.0

  return standard, factor


def is_decayed(params: Any) -> Any:
  """True for the leaves that weight decay is for: all but vectors."""

  def one(path: Any, _: Any) -> bool:
    return _names(path)[-1] not in _VECTORS

  return jax.tree_util.tree_map_with_path(one, params)


def _names(path: Any) -> list[str]:
  return [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]


def _width_ratio(c: ModelConfig) -> float:
  return 1.0 if c.parametrization == 'standard' else c.width / c.base_width


def _depth_ratio(c: ModelConfig) -> float:
  return c.num_layers / c.base_layers

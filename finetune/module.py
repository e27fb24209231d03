"""A decoder with a linear head that tells the class of a text."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from model.config import ModelConfig
from model.linear import einsum, parameter
from model.transformer import Decoder
from train.mesh.placement import DEFAULT, Placement
from train.mesh.sharding import state_shardings, tree_shardings, unbox
from train.optimizer import Optimizer
from train.step import TrainState, first_state


class Head(nn.Module):
  """Class scores: features times kernel, plus bias; zeros at the start."""

  num_classes: int

  @nn.compact
  def __call__(self, features_BxD: jax.Array) -> jax.Array:
    zeros, width = nn.initializers.zeros, features_BxD.shape[-1]
    kernel_DxC = parameter(
      self, 'kernel', zeros, (width, self.num_classes), ('embed', None)
    )
    bias_C = parameter(self, 'bias', zeros, (self.num_classes,), (None,))
    return einsum('bd,dc->bc', features_BxD, kernel_DxC) + bias_C


class Classifier(nn.Module):
  """A linear head on the mean of a decoder's last hidden states.

  The mean over all tokens, rather than the state of the last one: a topic
  shows everywhere in a text, and a long one is cut anywhere.
  """

  config: ModelConfig
  num_classes: int

  def setup(self) -> None:
    self.decoder = Decoder(self.config)
    self.head = Head(self.num_classes)

  def features(
    self, tokens_BxL: jax.Array, segment_ids_BxL: jax.Array
  ) -> jax.Array:
    """Mean hidden state [B, D] over a text's tokens, float32.

    Args:
      tokens_BxL: a separator, a text, and padding.
      segment_ids_BxL: 1 for the text, 0 for padding.
    """
    positions = jnp.arange(tokens_BxL.shape[1], dtype=jnp.int32)
    h_BxLxD = self.decoder.hidden(
      tokens_BxL,
      segment_ids_BxL,
      jnp.broadcast_to(positions, tokens_BxL.shape),
    ).astype(jnp.float32)
    is_text_BxLx1 = (segment_ids_BxL == 1).astype(jnp.float32)[..., None]
    total_BxD = jnp.sum(h_BxLxD * is_text_BxLx1, axis=1)
    return total_BxD / jnp.maximum(1.0, jnp.sum(is_text_BxLx1, axis=1))

  def __call__(
    self, tokens_BxL: jax.Array, segment_ids_BxL: jax.Array
  ) -> jax.Array:
    """Float32 scores [B, C] of each class; arguments as `features`."""
    return self.head(self.features(tokens_BxL, segment_ids_BxL))


def abstract_params(
  model: Classifier, mesh: Mesh, placement: Placement = DEFAULT
) -> Any:
  """Shapes and shardings of the parameters."""
  boxed = jax.eval_shape(lambda: _init(model, jax.random.key(0)))
  return _laid_out(boxed, tree_shardings(boxed, mesh, placement))


def abstract_state(
  model: Classifier,
  optimizer: Optimizer,
  mesh: Mesh,
  placement: Placement = DEFAULT,
) -> TrainState:
  """Shapes and shardings of a training state."""
  boxed = jax.eval_shape(
    lambda: first_state(_init(model, jax.random.key(0)), optimizer)
  )
  return _laid_out(boxed, state_shardings(boxed, mesh, placement))


def random_params(
  model: Classifier, mesh: Mesh, seed: int, placement: Placement = DEFAULT
) -> Any:
  """Initial parameters, laid out over the mesh."""
  layout = shardings_of(abstract_params(model, mesh, placement))
  init = jax.jit(lambda key: unbox(_init(model, key)), out_shardings=layout)
  return init(jax.random.key(seed))


def with_head(
  model: Classifier,
  mesh: Mesh,
  decoder: Any,
  head: tuple[np.ndarray, np.ndarray] | None = None,
) -> Any:
  """A decoder's parameters with a head: its kernel and bias, or zeros."""
  layout = abstract_params(model, mesh)['head']
  kernel_DxC, bias_C = head or (
    np.zeros(layout['kernel'].shape),
    np.zeros(layout['bias'].shape),
  )
  values = {'kernel': kernel_DxC, 'bias': bias_C}
  return {
    'decoder': decoder,
    'head': {
      name: jax.device_put(value.astype(np.float32), layout[name].sharding)
      for name, value in values.items()
    },
  }


def shardings_of(abstract: Any) -> Any:
  """The shardings in a tree of abstract arrays."""
  return jax.tree.map(lambda leaf: leaf.sharding, abstract)


def _init(model: Classifier, key: jax.Array) -> Any:
  token = jnp.zeros((1, 1), jnp.int32)
  return model.init(key, token, token)['params']


def _laid_out(boxed: Any, shardings: Any) -> Any:
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    unbox(boxed),
    shardings,
  )

"""Optimizers by name, made of optax's transformations.

An optimizer is a function of the learning rate, as `optax.adamw` is one. What
it keeps is the same at any rate, which may be traced: so runs that differ in
their schedule share one compiled program.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from model.config import ModelConfig
from model.parametrization import is_decayed, learning_rates
from train.optimizer_config import OptimizerConfig

Optimizer = Callable[[Any], optax.GradientTransformation]

# Adafactor keeps a matrix whole below this; it is optax's number.
_LEAST_FACTORED = 128
_STACKED = 'layers'  # key of what has a leading axis of layers


class AverageState(NamedTuple):
  """What `ema_decay` adds to an optimizer.

  Attributes:
    inner: state of the optimizer.
    num_updates: int32 scalar.
    average: of the parameters.
  """

  inner: Any
  num_updates: jax.Array
  average: Any


def make_optimizer(
  config: OptimizerConfig, rates: Callable[[Any], Any]
) -> Optimizer:
  """From a learning rate to an optimizer; its updates are to be added.

  An update is -rate * (multiplier * direction + weight_decay * parameter), the
  last term for all but vectors. The gradient is clipped first. Directions:

  - `adamw`: m / (sqrt(v) + eps), moments of b1 and b2 (Loshchilov and Hutter
    2019, arXiv:1711.05101).
  - `adafactor`: the gradient over the root of a second moment that is kept as
    its means over rows and columns, with a decay of 1 - t^-0.8 up to b2; cut to
    an RMS of 1 in each block, and averaged by b1 where that is not 0 (Shazeer
    and Stern 2018, arXiv:1804.04235, in the form of Zhai et al. 2022,
    arXiv:2106.04560, section 3.4: not scaled by the parameter's RMS, so that
    AdamW's learning rates fit).
  - `lion`: the sign of (1 - b1) g + b1 m (Chen et al. 2023, arXiv:2302.06675).
  - `muon`: each matrix of a layer or an expert has its `momentum` made
    orthogonal (Jordan et al. 2024) and multiplied by update_rms * sqrt(max(
    inputs, outputs)), whose RMS is then `update_rms` (Liu et al. 2025,
    arXiv:2502.16982), or where that is 0 by sqrt(max(1, outputs / inputs)). All
    else, tables, the head and vectors, has `adamw`'s direction.
  - `schedule_free`: AdamW without a first moment, whose iterates are averaged
    with weights of the squared learning rate; b1 is the share of the average
    where gradients are taken (Defazio et al. 2024, arXiv:2405.15682).

  Args:
    config: its learning rate is not used.
    rates: from parameters to a multiplier of each one's learning rate; weight
      decay goes at the common rate.
  """

  def at(rate: Any) -> optax.GradientTransformation:
    descent = _times(_uphill(config, rates), -rate)
    if config.kind == 'schedule_free':
      return contrib.schedule_free(descent, rate, config.b1)
    if config.ema_decay:
      return _averaging(descent, config.ema_decay)
    return descent

  return at


def averaged_params(optimizer_state: Any, params: Any) -> Any:
  """The parameters to evaluate: averaged where the optimizer averages.

  Args:
    optimizer_state: of an optimizer of `make_optimizer`.
    params: at which it takes gradients.
  """
  if isinstance(optimizer_state, AverageState):
    return optimizer_state.average
  if isinstance(optimizer_state, contrib.ScheduleFreeState):
    return contrib.schedule_free_eval_params(optimizer_state, params)
  return params


def rates_of(
  model: ModelConfig, config: OptimizerConfig
) -> Callable[[Any], Any]:
  """From parameters to multipliers of their learning rates for an optimizer.

  They are those of the model's parametrization, which are made for Adam: its
  update of a matrix can have a spectral norm that grows like the width m. An
  orthogonal matrix times sqrt(width), as of an `update_rms`, has one like
  m^(1/2), so that the rates of Muon's matrices fall with m^(1/2) where Adam's
  do with m; without an `update_rms` its norm does not grow, and the rates do
  not fall (Yang et al. 2023, "A spectral condition for feature learning",
  arXiv:2310.17813).
  """

  def rates(params: Any) -> Any:
    adam = learning_rates(model, params)
    if config.kind != 'muon':
      return adam
    growth = 0.5 if config.update_rms else 1.0
    # At the base depth only the width is left.
    shallow = dataclasses.replace(model, num_layers=model.base_layers)
    return jax.tree_util.tree_map_with_path(
      lambda path, x, rate, of_width: (
        rate if matrix_axes(path, x) is None else rate * of_width**-growth
      ),
      params,
      adam,
      learning_rates(shallow, params),
    )

  return rates


def matrix_axes(path: Any, x: Any) -> contrib.MuonDimensionNumbers | None:
  """Which axes of a parameter are a matrix's inputs and outputs.

  The others stack matrices: of layers, and of experts. The heads of a kernel of
  attention belong to its inputs or outputs.

  Args:
    path: of the parameter.
    x: the parameter, or an array of its shape.

  Returns:
    None for what is no matrix inside the network: vectors, tables, the head.
  """
  *parents, name = (k.key for k in path if isinstance(k, jax.tree_util.DictKey))
  inputs = outputs = 1
  if name == 'kernel' and 'head' not in parents:
    if {'attention', 'cross'} & set(parents):
      outputs = 1 if parents[-1] == 'out' else 2
      inputs = 3 - outputs
  elif name not in ('gate', 'up', 'down'):  # of experts, which are no modules
    return None
  first, last = x.ndim - inputs - outputs, x.ndim
  return contrib.MuonDimensionNumbers(
    tuple(range(first, last - outputs)), tuple(range(last - outputs, last))
  )


def _uphill(
  config: OptimizerConfig, rates: Callable[[Any], Any]
) -> optax.GradientTransformation:
  """What the learning rate multiplies, of the gradient's sign."""

  def multiply(updates: Any, params: Any) -> Any:
    return jax.tree.map(lambda u, rate: u * rate, updates, rates(params))

  return optax.chain(
    _clip(config),
    _DIRECTIONS[config.kind](config),
    optax.stateless(multiply),
    optax.add_decayed_weights(config.weight_decay, mask=is_decayed),
  )


def _clip(config: OptimizerConfig) -> optax.GradientTransformation:
  """Each block first, then all together."""
  clip_all = optax.identity()
  if config.clip_norm:
    clip_all = optax.clip_by_global_norm(config.clip_norm)
  if not config.clip_block_norm:
    return clip_all
  return optax.chain(_clip_blocks(config.clip_block_norm, jnp.sum), clip_all)


def _clip_blocks(
  limit: float, reduce: Callable[..., jax.Array]
) -> optax.GradientTransformation:
  """Scales a block down whose sqrt(reduce(x^2)) is above a limit.

  A block is an array, or one layer of a stacked one, which optax's own clipping
  of blocks would take for a single one.

  Args:
    limit: of the norm.
    reduce: `jnp.sum` for the Euclidean norm, `jnp.mean` for the RMS.
  """

  def one(path: Any, x: jax.Array) -> jax.Array:
    keys = {getattr(key, 'key', None) for key in path}
    axes = tuple(range(1 if _STACKED in keys else 0, x.ndim))
    norm = jnp.sqrt(reduce(jnp.square(x), axis=axes, keepdims=True))
    return x / jnp.maximum(1.0, norm / limit)

  return optax.stateless(
    lambda updates, _: jax.tree_util.tree_map_with_path(one, updates)
  )


def _adam(config: OptimizerConfig) -> optax.GradientTransformation:
  return _stored(
    optax.scale_by_adam(config.b1, config.b2, config.eps), config.state_dtype
  )


def _adafactor(config: OptimizerConfig) -> optax.GradientTransformation:
  def decay(step: jax.Array, exponent: float) -> jax.Array:
    t = jnp.float32(step + 1)
    return jnp.minimum(config.b2, 1 - t**-exponent)

  factored = optax.scale_by_factored_rms(
    min_dim_size_to_factor=_LEAST_FACTORED,
    epsilon=config.eps**2,  # of the squared gradient
    decay_rate_fn=decay,
  )
  moment = optax.ema(config.b1) if config.b1 else optax.identity()
  return optax.chain(
    _stored(_heads_merged(factored), config.state_dtype),
    _clip_blocks(1.0, jnp.mean),
    _stored(moment, config.state_dtype),
  )


def _lion(config: OptimizerConfig) -> optax.GradientTransformation:
  lion = optax.scale_by_lion(config.b1, config.b2)
  return _stored(lion, config.state_dtype)


def _muon(config: OptimizerConfig) -> optax.GradientTransformation:
  def axes(tree: Any) -> Any:
    return jax.tree_util.tree_map_with_path(matrix_axes, tree)

  def label(path: Any, x: Any) -> str:
    return 'adam' if matrix_axes(path, x) is None else 'muon'

  def scale(path: Any, x: jax.Array) -> jax.Array:
    *_, inputs, outputs = _matrix_shape(path, x)
    if config.update_rms:
      return x * config.update_rms * max(inputs, outputs) ** 0.5
    return x * max(1.0, outputs / inputs) ** 0.5

  # The coefficients of its iteration are in the state, too, and are no moments.
  orthogonal = contrib.scale_by_muon(
    beta=config.momentum,
    mu_dtype=jnp.dtype(config.state_dtype),
    weight_dimension_numbers=axes,
  )
  scaled = optax.stateless(
    lambda updates, _: jax.tree_util.tree_map_with_path(scale, updates)
  )
  return optax.partition(
    {'muon': optax.chain(orthogonal, scaled), 'adam': _adam(config)},
    lambda params: jax.tree_util.tree_map_with_path(label, params),
  )


def _second_moment(config: OptimizerConfig) -> optax.GradientTransformation:
  """Adam's direction at b1 = 0."""
  rms = optax.scale_by_rms(
    config.b2, config.eps, eps_in_sqrt=False, bias_correction=True
  )
  return _stored(rms, config.state_dtype)


_DIRECTIONS: dict[
  str, Callable[[OptimizerConfig], optax.GradientTransformation]
] = {
  'adamw': _adam,
  'adafactor': _adafactor,
  'lion': _lion,
  'muon': _muon,
  'schedule_free': _second_moment,
}


def _matrix_shape(path: Any, x: Any) -> tuple[int, ...]:
  """The shape of a parameter with a single axis of inputs and of outputs."""
  axes = matrix_axes(path, x)
  if axes is None:
    return x.shape
  inputs, outputs = (tuple(x.shape[axis] for axis in part) for part in axes)
  stacked = x.shape[: x.ndim - len(inputs) - len(outputs)]
  return *stacked, math.prod(inputs), math.prod(outputs)


def _heads_merged(
  inner: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Shows kernels of attention as matrices to what tells axes by their size.

  Where one is too small to be factored it does not: then what is kept of it has
  its own shape, which tells where it lies on a mesh.
  """

  def merged(path: Any, x: jax.Array) -> jax.Array:
    shape = _matrix_shape(path, x)
    return x if min(shape[-2:]) < _LEAST_FACTORED else x.reshape(shape)

  def view(tree: Any) -> Any:
    return jax.tree_util.tree_map_with_path(merged, tree)

  def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    found, state = inner.update(view(grads), state, view(params))
    return jax.tree.map(lambda x, g: x.reshape(g.shape), found, grads), state

  return optax.GradientTransformation(
    lambda params: inner.init(view(params)), update
  )


def _stored(
  inner: optax.GradientTransformation, dtype: str
) -> optax.GradientTransformation:
  """Keeps moments in a dtype, and computes with them in float32."""
  if dtype == 'float32':
    return inner

  def cast(state: Any, to: str) -> Any:
    def one(x: jax.Array) -> jax.Array:
      return x.astype(to) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(one, state)

  def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    updates, state = inner.update(grads, cast(state, 'float32'), params)
    return updates, cast(state, dtype)

  return optax.GradientTransformation(
    lambda params: cast(inner.init(params), dtype), update
  )


def _times(
  inner: optax.GradientTransformation, factor: Any
) -> optax.GradientTransformation:
  """`inner` with its updates multiplied; `optax.chain` would change its state,
  which checkpoints hold."""

  def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    updates, state = inner.update(grads, state, params)
    return jax.tree.map(lambda u: factor * u, updates), state

  return optax.GradientTransformation(inner.init, update)


def _averaging(
  inner: optax.GradientTransformation, decay: float
) -> optax.GradientTransformation:
  """Keeps an exponential moving average of the parameters beside.

  a_t = a_(t-1) + (1 - d) / (1 - d^t) (p_t - a_(t-1)): the mean of p_1 ... p_t
  with weights of d^(t-i), in which the initial parameters have no part.
  """

  def init(params: Any) -> AverageState:
    # A copy, so that a step can take over the memory of both.
    copy = jax.tree.map(jnp.copy, params)
    return AverageState(inner.init(params), jnp.int32(0), copy)

  def update(
    grads: Any, state: AverageState, params: Any = None
  ) -> tuple[Any, AverageState]:
    updates, inner_state = inner.update(grads, state.inner, params)
    count = state.num_updates + 1
    share = (decay - 1) / jnp.expm1(count * math.log(decay))
    moved = optax.apply_updates(params, updates)
    average = optax.incremental_update(moved, state.average, share)
    return updates, AverageState(inner_state, count, average)

  return optax.GradientTransformation(init, update)

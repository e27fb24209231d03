"""Matrix products of 8-bit integers, by qwix."""

import functools
from typing import Any

import jax

from configs.errors import UserError


def einsum(equation: str, x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`jnp.einsum` of two arrays that are rounded to 8-bit integers.

  Each is a_ij ~ s_i q_ij with integers q_ij of -128 to 127 and a scale s_i =
  max_j |a_ij| / 127.5 for each place of the dimensions that are not summed over
  (Jacob et al. 2018, arXiv:1712.05877, without zero points). Products are added
  up in 32-bit integers. In the backward pass what comes in is rounded likewise,
  and multiplied with what the forward pass has rounded.

  Args:
    equation: of two arrays.
    x: what is multiplied, in the compute dtype.
    kernel: in the same.

  Returns:
    The products in that dtype.

  Raises:
    UserError: qwix is not installed.
  """
  product: jax.Array = _provider().einsum(equation, x, kernel)
  return product


@functools.cache
def _provider() -> Any:
  try:
    import qwix
  except ImportError as error:
    raise UserError(
      "model.matmul = 'int8' needs the extra int8: run `pip install -e .[int8]`"
    ) from error
  rule = qwix.QtRule(weight_qtype='int8', act_qtype='int8', bwd_qtype='int8')
  return qwix.QtProvider([rule])

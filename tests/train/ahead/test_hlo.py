"""Programs are read as they are written, and loops are multiplied out."""

import jax
import jax.numpy as jnp
import pytest

from train.ahead import hlo, hlo_costs
from train.ahead.hlo import Shape

# A loop of 5 over a product and an all-reduce, as the compiler writes it.
LOOP = """
HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[8,16]{1,0})}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%body (carried: (s32[], f32[8,16])) -> (s32[], f32[8,16]) {
  %carried = (s32[], f32[8,16]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%carried), index=0
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  %x = f32[8,16]{1,0:T(8,128)} get-tuple-element(%carried), index=1
  %w = f32[16,16]{1,0} constant({...})
  %y = f32[8,16]{1,0} dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}, metadata={op_name="jit(f)/while/body/dot_general"}
  %z = f32[8,16]{1,0} all-reduce(%y), replica_groups=[2,4]<=[8], to_apply=%add
  ROOT %out = (s32[], f32[8,16]{1,0}) tuple(%next, %z)
}

%condition (state: (s32[], f32[8,16])) -> pred[] {
  %state = (s32[], f32[8,16]{1,0}) parameter(0)
  %limit = s32[] constant(7)
  %at = s32[] get-tuple-element(%state), index=0
  ROOT %less = pred[] compare(%at, %limit), direction=LT
}

ENTRY %main (p: f32[8,16]) -> f32[8,16] {
  %p = f32[8,16]{1,0} parameter(0)
  %start = s32[] constant(2)
  %first = s32[] copy(%start)
  %both = (s32[], /*index=1*/f32[8,16]{1,0}) tuple(%first, %p)
  %loop = (s32[], f32[8,16]{1,0}) while(%both), condition=%condition, body=%body
  ROOT %result = f32[8,16]{1,0} get-tuple-element(%loop), index=1
}
"""

EXCHANGES = """
HloModule exchanges, is_scheduled=true

%add (a: bf16[], b: bf16[]) -> bf16[] {
  %a = bf16[] parameter(0)
  %b = bf16[] parameter(1)
  ROOT %sum = bf16[] add(%a, %b)
}

%all-reduce-scatter.1 (input: f32[64,32]) -> f32[16,32] {
  %input = f32[64,32]{1,0} parameter(0)
  %inner = f32[64,32]{1,0} all-reduce(%input), replica_groups={{0,1,2,3}}, to_apply=%add
  %id = u32[] partition-id()
  ROOT %part = f32[16,32]{1,0} dynamic-slice(%inner, %id, %id), dynamic_slice_sizes={16,32}
}

ENTRY %main (p: bf16[4,32], q: f32[64,32]) -> (bf16[16,32], f32[16,32]) {
  %p = bf16[4,32]{1,0} parameter(0)
  %q = f32[64,32]{1,0} parameter(1)
  %begun = (bf16[4,32]{1,0}, bf16[16,32]{1,0}) all-gather-start(%p), replica_groups={{0,2},{1,3}}, dimensions={0}
  %sent = bf16[4,32]{1,0} collective-permute(%p), source_target_pairs={{0,1},{1,2},{2,3},{3,0}}
  %mixed = bf16[4,32]{1,0} all-to-all(%sent), replica_groups=mesh['a'=2,'b'=2] {'b'}, dimensions={0}
  %ended = bf16[16,32]{1,0} all-gather-done(%begun)
  %pair = (bf16[4,32]{1,0}, bf16[4,32]{1,0}) all-reduce(%p, %mixed), replica_groups={}, to_apply=%add
  %less = f32[16,32]{1,0} fusion(%q), kind=kCustom, calls=%all-reduce-scatter.1
  ROOT %out = (bf16[16,32]{1,0}, f32[16,32]{1,0}) tuple(%ended, %less)
}
"""


def test_a_loop_runs_as_often_as_its_condition_holds():
  module = hlo.parse(LOOP)
  assert module.entry == 'main'
  assert module.runs == {'main': 1, 'body': 5, 'condition': 5, 'add': 5}
  told = LOOP.replace(
    'body=%body', 'body=%body, backend_config={"known_trip_count":{"n":"9"}}'
  )
  assert hlo.parse(told).runs['body'] == 9


def test_a_counter_may_go_up_by_more_than_one():
  by_two = LOOP.replace('%one = s32[] constant(1)', '%one = s32[] constant(2)')
  assert hlo.parse(by_two).runs['body'] == 3  # at 2, 4 and 6


def test_products_and_exchanges_of_a_loop_are_multiplied_out():
  module = hlo.parse(LOOP)
  (product,) = hlo_costs.dots(module)
  assert (product.flops, product.runs) == (2 * 8 * 16 * 16, 5)
  assert product.instruction.op_name == 'jit(f)/while/body/dot_general'
  found = hlo_costs.collectives(module)
  assert hlo_costs.totals(found) == {
    'all-reduce': {'count': 5, 'bytes': 5 * 8 * 16 * 4}
  }
  assert found[0].group == (0, 1, 2, 3)


def test_every_kind_of_exchange_counts_once():
  module = hlo.parse(EXCHANGES)
  found = {one.kind: one for one in hlo_costs.collectives(module)}
  assert {kind: one.bytes for kind, one in found.items()} == {
    'all-gather': 16 * 32 * 2,  # as it is whole
    'collective-permute': 4 * 32 * 2,
    'all-to-all': 4 * 32 * 2,
    'all-reduce': 2 * 4 * 32 * 2,  # two arrays at once
    'reduce-scatter': 64 * 32 * 4,  # of which each keeps a part
  }
  assert {kind: one.group for kind, one in found.items()} == {
    'all-gather': (0, 2),
    'collective-permute': (0, 1),
    'all-to-all': (0, 1),
    'all-reduce': (),
    'reduce-scatter': (0, 1, 2, 3),
  }
  # Two of the four have one half each and need the other.
  assert found['all-gather'].sent_bytes(4) == 16 * 32 * 2 / 2
  assert found['all-reduce'].sent_bytes(4) == 2 * 4 * 32 * 2 * 2 * 3 / 4
  assert found['reduce-scatter'].sent_bytes(4) == 64 * 32 * 4 * 3 / 4
  assert found['collective-permute'].sent_bytes(4) == 4 * 32 * 2


def test_a_group_may_be_transposed():
  text = EXCHANGES.replace(
    'replica_groups={{0,2},{1,3}}', 'replica_groups=[2,4]<=[4,2]T(1,0)'
  )
  found = {one.kind: one for one in hlo_costs.collectives(hlo.parse(text))}
  assert found['all-gather'].group == (0, 2, 4, 6)


def test_tiles_fill_memory_up():
  assert Shape('bf16', (3, 200)).bytes == 1200
  assert Shape('bf16', (3, 200), '{1,0:T(8,128)(2,1)}').hbm_bytes == (
    8 * 256 * 2
  )
  assert Shape('f32', (200, 3), '{0,1:T(8,128)}').hbm_bytes == 8 * 256 * 4
  assert Shape('f32', (3, 200), '{1,0:T(8,128)S(1)}').hbm_bytes == 0
  assert Shape('pred', ()).bytes == 1
  assert Shape('s4', (3,)).bytes == 2


@pytest.mark.parametrize(
  ('window', 'labels', 'flops'),
  [
    # A product of [4, 6] and [6, 5], and a sum over a spatial axis of 3.
    ('', 'bf_io->bf', 2 * 4 * 6 * 5),
    ('{size=3}', '0bf_0io->b0f', 2 * 4 * 6 * 5 * 3),
    # Full convolution: every tap meets every input once, and edges only zeros.
    ('{size=3 pad=2_2 rhs_reversal=1}', '0bf_0io->b0f', 2 * 4 * 6 * 5 * 9),
  ],
)
def test_convolutions_count_what_meets(window, labels, flops):
  spatial = '3,' if '0' in labels else ''
  out = {'': '4,5', '{size=3}': '4,1,5'}.get(window, '4,5,5')
  text = f"""
ENTRY %main (a: f32[{spatial}4,6], b: f32[{spatial}6,5]) -> f32[{out}] {{
  %a = f32[{spatial}4,6]{{1,0}} parameter(0)
  %b = f32[{spatial}6,5]{{1,0}} parameter(1)
  ROOT %c = f32[{out}]{{1,0}} convolution(%a, %b), window={window}, dim_labels={labels}
}}
"""
  (product,) = hlo_costs.dots(hlo.parse(text))
  assert product.flops == flops


def test_a_text_that_is_no_program_is_told():
  with pytest.raises(ValueError, match='no ENTRY'):
    hlo.parse('HloModule nothing\n')


@pytest.mark.parametrize('length', [1, 3, 17])
def test_scans_of_jax_are_multiplied_out(length):
  def f(x, weights):
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]

  args = jnp.ones((4, 8)), jnp.ones((length, 8, 8))
  compiled = jax.jit(f).lower(*args).compile()
  module = hlo.parse(compiled.as_text())
  found = sum(dot.flops * dot.runs for dot in hlo_costs.dots(module))
  assert found == length * 2 * 4 * 8 * 8


def test_nested_loops_multiply():
  def f(x, w):
    def outer(_, x):
      return jax.lax.fori_loop(0, 3, lambda _, x: jnp.tanh(x @ w), x)

    return jax.lax.fori_loop(0, 5, outer, x)

  args = jnp.ones((4, 8)), jnp.ones((8, 8))
  module = hlo.parse(jax.jit(f).lower(*args).compile().as_text())
  found = sum(dot.flops * dot.runs for dot in hlo_costs.dots(module))
  assert found == 15 * 2 * 4 * 8 * 8


def test_exchanges_of_a_sharded_product_are_those_of_theory():
  """Contracting a divided axis takes one all-reduce of the result."""
  mesh = jax.make_mesh((8,), ('x',), (jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec
  along = jax.sharding.NamedSharding(mesh, spec(None, 'x'))
  down = jax.sharding.NamedSharding(mesh, spec('x', None))
  whole = jax.sharding.NamedSharding(mesh, spec())
  lowered = jax.jit(jnp.matmul, out_shardings=whole).lower(
    jax.ShapeDtypeStruct((4, 64), jnp.float32, sharding=along),
    jax.ShapeDtypeStruct((64, 16), jnp.float32, sharding=down),
  )
  module = hlo.parse(lowered.compile().as_text())
  found = hlo_costs.collectives(module)
  assert hlo_costs.totals(found) == {'all-reduce': {'count': 1, 'bytes': 256}}
  assert found[0].sent_bytes(8) == 2 * 256 * 7 / 8
  (product,) = hlo_costs.dots(module)
  assert product.flops * product.runs == 2 * 4 * 8 * 16

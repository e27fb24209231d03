"""Seconds of absent chips, against what can be worked out by hand."""

import pytest

from configs.chips import CHIPS, TPUS
from configs.errors import UserError
from train.ahead import hlo, hlo_costs, modelled, roofline, topology
from train.ahead.hlo_costs import Collective
from train.ahead.roofline import Place

# One product of 256 x 512 by 512 x 1024 in bfloat16, a slice of a large array,
# and an update of another slice in place.
STEP = """
HloModule step, is_scheduled=true

%sliced (stack: bf16[96,512,1024], at: s32[]) -> bf16[512,1024] {
  %stack = bf16[96,512,1024]{2,1,0} parameter(0)
  %at = s32[] parameter(1)
  %zero = s32[] constant(0)
  %one = bf16[1,512,1024]{2,1,0} dynamic-slice(%stack, %at, %zero, %zero), dynamic_slice_sizes={1,512,1024}
  ROOT %flat = bf16[512,1024]{1,0} bitcast(%one)
}

%updated (all: f32[96,256,1024], new: f32[1,256,1024], at: s32[]) -> f32[96,256,1024] {
  %all = f32[96,256,1024]{2,1,0} parameter(0)
  %new = f32[1,256,1024]{2,1,0} parameter(1)
  %place = s32[] parameter(2)
  %zeros = s32[] constant(0)
  ROOT %kept = f32[96,256,1024]{2,1,0} dynamic-update-slice(%all, %new, %place, %zeros, %zeros)
}

ENTRY %main (p: bf16[96,512,1024], x: bf16[256,512], k: f32[96,256,1024]) -> f32[96,256,1024] {
  %p = bf16[96,512,1024]{2,1,0} parameter(0)
  %x = bf16[256,512]{1,0} parameter(1)
  %k = f32[96,256,1024]{2,1,0} parameter(2)
  %n = s32[] constant(3)
  %w = bf16[512,1024]{1,0} fusion(%p, %n), kind=kLoop, calls=%sliced, backend_config={"window_config":{"estimated_cycles":"350"}}
  %y = f32[256,1024]{1,0} dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}, backend_config={"window_config":{"estimated_cycles":"700"}}
  %y1 = f32[1,256,1024]{2,1,0} bitcast(%y)
  ROOT %out = f32[96,256,1024]{2,1,0} fusion(%k, %y1, %n), kind=kLoop, calls=%updated
}
"""


def _exchange(kind, size, group=()):
  return Collective(kind, 'main', 'x', size, group, 1)


def _places(grid, slices=1):
  return [
    Place(number, (x, y, z))
    for number in range(slices)
    for x in range(grid[0])
    for y in range(grid[1])
    for z in range(grid[2])
  ]


def test_a_product_takes_what_its_rows_and_columns_do():
  grid = topology.parse('v5p:2x2x1')
  found = modelled.costs(hlo.parse(STEP), grid, _places((2, 2, 1)), True)
  assert found.flops == 2 * 256 * 512 * 1024
  slice_bytes, result = 512 * 1024 * 2, 256 * 1024 * 4
  read = slice_bytes + slice_bytes + 256 * 512 * 2 + result
  written = slice_bytes + result + result
  # The counter, a constant of four bytes, is read three times.
  assert found.hbm_bytes == pytest.approx(read + written, abs=16)
  assert found.roofline.compute == found.flops / 459e12
  assert found.roofline.hbm == found.hbm_bytes / 2.765e12
  assert found.roofline.seconds == found.roofline.hbm
  assert found.busy_seconds == pytest.approx(1050 / 1.75e9)
  # More than the compiler expects: no step is faster than its memory.
  assert found.step_seconds == found.roofline.hbm


def test_a_gather_takes_both_links_of_a_ring():
  """Each of n chips receives (n - 1) / n of the whole, by two links of it."""
  grid = topology.parse('v5p:8x8x8')
  where = _places((8, 8, 8))
  along_z = _exchange('all-gather', 800e6, tuple(range(8)))
  ici, dcn = roofline.exchange_seconds(along_z, where, grid)
  assert ici == pytest.approx(800e6 * 7 / 8 / (2 * 100e9))
  assert dcn == 0
  everywhere = _exchange('all-reduce', 512e6)
  ici, _ = roofline.exchange_seconds(everywhere, where, grid)
  assert ici == pytest.approx(2 * 512e6 * 511 / 512 / (6 * 100e9))


def test_an_open_side_has_one_link():
  grid = topology.parse('v5p:2x2x1')
  whole = _exchange('reduce-scatter', 400e6)
  ici, _ = roofline.exchange_seconds(whole, _places((2, 2, 1)), grid)
  assert ici == pytest.approx(400e6 * 3 / 4 / (2 * 100e9))


def test_between_slices_each_chip_sends_its_part_over_the_network():
  grid = topology.parse('v5p:2x2x1', 2)
  where = _places((2, 2, 1), 2)
  ici, dcn = roofline.exchange_seconds(
    _exchange('all-reduce', 400e6), where, grid
  )
  assert ici == pytest.approx(2 * 400e6 * 3 / 4 / (2 * 100e9))
  # A quarter for each of four chips, there and back between two slices.
  assert dcn == pytest.approx(2 * 100e6 / 2 / 6.25e9)
  twins = _exchange('all-reduce', 400e6, (0, 4))
  ici, dcn = roofline.exchange_seconds(twins, where, grid)
  assert ici == 0
  assert dcn == pytest.approx(400e6 / 6.25e9)


def test_exchanges_wait_unless_something_is_computed_meanwhile():
  text = """
HloModule waits, is_scheduled=true
ENTRY %main (p: f32[1000,1000]) -> f32[4000,1000] {
  %p = f32[1000,1000]{1,0} parameter(0)
  %s = (f32[1000,1000]{1,0}, f32[4000,1000]{1,0}) all-gather-start(%p), replica_groups={{0,1,2,3}}, dimensions={0}
  %b = f32[1000,1000]{1,0} negate(%p), backend_config={"estimated_cycles":"35000"}
  ROOT %d = f32[4000,1000]{1,0} all-gather-done(%s)
}
"""
  grid, where = topology.parse('v5p:2x2x1'), _places((2, 2, 1))
  seconds = 4000 * 1000 * 4 * 3 / 4 / 200e9
  beside = 35000 / 1.75e9
  begun = modelled.costs(hlo.parse(text), grid, where, False)
  assert begun.step_seconds == pytest.approx(beside + seconds - beside)
  at_once = text.replace('-start(', '(').replace(
    '(f32[1000,1000]{1,0}, f32[4000,1000]{1,0}) all-gather',
    'f32[4000,1000]{1,0} all-gather',
  )
  at_once = at_once.replace('all-gather-done', 'copy')
  alone = modelled.costs(hlo.parse(at_once), grid, where, False)
  assert alone.step_seconds == pytest.approx(beside + seconds)


def test_hosts_exchange_between_slices_while_chips_compute():
  text = """
HloModule slices, is_scheduled=true
ENTRY %main (p: f32[1000,1000]) -> f32[1000,1000] {
  %p = f32[1000,1000]{1,0} parameter(0)
  %t = token[] after-all()
  %s = (f32[1000,1000]{1,0}, u32[], token[]) send(%p, %t), channel_id=1, is_host_transfer=true, frontend_attributes={_xla_host_transfer_rendezvous="all-reduce.1_0",_xla_megascale_transfer_type="ALL_REDUCE"}
  %sd = token[] send-done(%s), channel_id=1
  %r = (f32[1000,1000]{1,0}, u32[], token[]) recv(%t), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_host_transfer_rendezvous="all-reduce.1_0",_xla_megascale_transfer_type="ALL_REDUCE"}
  %b = f32[1000,1000]{1,0} negate(%p), backend_config={"estimated_cycles":"17500"}
  %rd = (f32[1000,1000]{1,0}, token[]) recv-done(%r), channel_id=2
  ROOT %g = f32[1000,1000]{1,0} get-tuple-element(%rd), index=0
}
"""
  grid, where = topology.parse('v5p:2x2x1', 2), _places((2, 2, 1), 2)
  found = modelled.costs(hlo.parse(text), grid, where, False)
  assert found.collectives == {'all-reduce': {'count': 1, 'bytes': 4_000_000}}
  # Half is sent to the other slice and half comes back, reduced, to be sent.
  assert found.roofline.dcn == pytest.approx(4e6 / 6.25e9)
  assert found.roofline.ici == 0
  assert found.step_seconds == pytest.approx(found.roofline.dcn)
  assert found.busy_seconds == pytest.approx(17500 / 1.75e9)


def test_kernels_of_attention_are_counted_by_their_shapes():
  text = """
HloModule kernel, is_scheduled=true
ENTRY %main (m: s32[1,4,4], q: bf16[4,12,2048,256], k: bf16[4,4,2048,256]) -> bf16[4,12,2048,256] {
  %m = s32[1,4,4]{2,1,0} parameter(0)
  %q = bf16[4,12,2048,256]{3,2,1,0} parameter(1)
  %k = bf16[4,4,2048,256]{3,2,1,0} parameter(2)
  ROOT %o = bf16[4,12,2048,256]{3,2,1,0} custom-call(%m, %q, %k, %k), custom_call_target="tpu_custom_call", metadata={op_name="jit(f)/splash_mqa_fwd_segmented/pallas_call"}
}
"""
  module = hlo.parse(text)
  grid, where = topology.parse('v5p:2x2x1'), _places((2, 2, 1))
  full = 2 * 2 * 4 * 12 * 2048 * 2048 * 256
  assert modelled.costs(module, grid, where, False).kernel_flops == full
  causal = modelled.costs(module, grid, where, True)
  assert causal.kernel_flops == full / 2
  kernel_seconds = causal.step_seconds - causal.busy_seconds
  assert kernel_seconds == pytest.approx(full / 2 / 459e12)
  assert hlo_costs.dots(module) == []


def test_clocks_and_links_are_those_of_the_peaks():
  """Cells of all matrix units x 2 x clock is the peak that is published."""
  cells = {'v4': 8 * 128**2, 'v5p': 8 * 128**2, 'v5e': 4 * 128**2}
  cells['v6e'] = 4 * 256**2
  # Both ways, of all links, as the documentation has it: GB/s of a chip.
  links = {'v4': 600, 'v5p': 1200, 'v5e': 400, 'v6e': 800}
  for kind, tpu in TPUS.items():
    chip = CHIPS[tpu.chip]
    assert 2 * cells[kind] * tpu.clock_hertz == pytest.approx(
      chip.peak_flops, rel=0.01
    )
    both_ways = 2 * 2 * tpu.axes * tpu.link_bytes_per_second
    assert both_ways == links[kind] * 1e9
    # As sold, in GB of 1e9 or of 2^30; libtpu keeps a part for itself.
    assert 0.98 < tpu.hbm_bytes / chip.memory_bytes < 1.09


@pytest.mark.parametrize(
  ('name', 'devices', 'rings'),
  [
    ('v5p:2x2x1', 4, (False, False, False)),
    ('v5p:8x8x8', 512, (True, True, True)),
    ('v4:4x4x8', 128, (True, True, True)),
    ('v5e:16x16', 256, (True, True)),
    ('v6e:8x16', 128, (False, True)),
  ],
)
def test_names_of_topologies(name, devices, rings):
  found = topology.parse(name)
  assert (found.num_devices, found.rings) == (devices, rings)


@pytest.mark.parametrize(
  'name',
  [
    'v5p',
    'v9:2x2',
    'v5p-8',
    'v5e:4',
    'v5p:4x4',
    'v5e:0x4',
    'tpu:2x2',
    'v5e:3x3',
    'v5e:32x16',
  ],
)
def test_a_name_that_is_none_is_told_with_examples(name):
  with pytest.raises(UserError, match=rf"topology = '{name}': .*v5p:2x2x1"):
    topology.parse(name)


def test_there_is_at_least_one_slice():
  with pytest.raises(UserError, match='num_slices = 0: at least 1'):
    topology.parse('v5e:4x4', 0)

"""What is held is told from a program's text, here a few instructions."""

from train.ahead import hlo, hlo_memory

# Two results of one fusion: 4 MB that are read soon, 4 KB that are read late.
TUPLE = """HloModule m, is_scheduled=true

ENTRY %main (p: f32[1024]) -> f32[1024] {
  %p = f32[1024]{0} parameter(0)
  %pair = (f32[1024]{0}, f32[1024,1024]{1,0}) fusion(%p), kind=kLoop, calls=%f
  %large = f32[1024,1024]{1,0} get-tuple-element(%pair), index=1
  %sum = f32[1024]{0} fusion(%large), kind=kLoop, calls=%g
  %other = f32[1024,1024]{1,0} fusion(%sum), kind=kLoop, calls=%h
  %small = f32[1024]{0} get-tuple-element(%pair), index=0
  ROOT %end = f32[1024]{0} fusion(%other, %small), kind=kLoop, calls=%i
}
"""

# A round reads what it was given, and then makes what it hands on.
LOOP = """HloModule m, is_scheduled=true

%body (c: (s32[], f32[1024,1024])) -> (s32[], f32[1024,1024]) {
  %c = (s32[], f32[1024,1024]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%c), index=0
  %x = f32[1024,1024]{1,0} get-tuple-element(%c), index=1
  %y = f32[1024]{0} fusion(%x), kind=kLoop, calls=%g
  %z = f32[1024,1024]{1,0} fusion(%y), kind=kLoop, calls=%h
  ROOT %t = (s32[], f32[1024,1024]{1,0}) tuple(%i, %z)
}

%condition (c: (s32[], f32[1024,1024])) -> pred[] {
  %c = (s32[], f32[1024,1024]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%c), index=0
  ROOT %p = pred[] compare(%i, %i), direction=LT
}

ENTRY %main (p: f32[1024]) -> f32[1024] {
  %p = f32[1024]{0} parameter(0)
  %zero = s32[] constant(0)
  %x0 = f32[1024,1024]{1,0} fusion(%p), kind=kLoop, calls=%h
  %t0 = (s32[], f32[1024,1024]{1,0}) tuple(%zero, %x0)
  %w = (s32[], f32[1024,1024]{1,0}) while(%t0), condition=%condition, body=%body
  %x1 = f32[1024,1024]{1,0} get-tuple-element(%w), index=1
  ROOT %end = f32[1024]{0} fusion(%x1), kind=kLoop, calls=%g
}
"""

# Either operand's memory is the result's, as the compiler writes it.
SHARED = """HloModule m, is_scheduled=true

ENTRY %main (p: f32[1024]) -> f32[1024] {
  %p = f32[1024]{0} parameter(0)
  %a = f32[1024,1024]{1,0} fusion(%p), kind=kLoop, calls=%h
  %b = f32[1024,1024]{1,0} fusion(%p), kind=kLoop, calls=%h
  %c = f32[1024,1024]{1,0} fusion(%a, %b), kind=kLoop, calls=%k, backend_config={"aliasing_operands":{"lists":[{"indices":["0","1","2"]}]}}
  ROOT %end = f32[1024]{0} fusion(%c), kind=kLoop, calls=%g
}
"""

KB, MB = 4 * 1024, 4 * 1024 * 1024


def test_results_of_one_instruction_are_freed_each_in_its_time():
  # The other 4 MB beside the two results of 4 KB that are still to be read.
  assert hlo_memory.held(hlo.parse(TUPLE)).peak == MB + 2 * KB


def test_what_a_loop_hands_on_takes_the_place_of_what_it_was_given():
  assert hlo_memory.held(hlo.parse(LOOP)).peak == MB + KB


def test_a_result_may_take_the_place_of_any_of_several_operands():
  assert hlo_memory.held(hlo.parse(SHARED)).peak == 2 * MB

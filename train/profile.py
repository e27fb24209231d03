"""Traces of some steps of a run, for xprof and Perfetto."""

import contextlib
import logging
import pathlib
from collections.abc import Callable, Iterator

import jax

from configs.errors import UserError

log = logging.getLogger(__name__)

PROFILE = 'profile'  # folder in a run's


def parse_steps(text: str, num_steps: int) -> range:
  """The steps of `START:STOP`: from START on, as many as STOP - START.

  Args:
    text: of the flag; '' is no step.
    num_steps: of the run, which counts them from 1.

  Raises:
    UserError: it is none, or not within the run.
  """
  if not text:
    return range(0)
  first, colon, last = text.partition(':')
  if not (colon and first.isdecimal() and last.isdecimal()):
    raise UserError(
      f'--profile={text}: expected START:STOP, two steps, such as 20:25'
    )
  steps = range(int(first), int(last))
  if not (0 < steps.start < steps.stop <= num_steps + 1):
    raise UserError(
      f'--profile={text}: expected 1 <= START < STOP <= {num_steps + 1}, since '
      f'the run has {num_steps} steps'
    )
  return steps


class Profiler:
  """Traces what is computed in some steps; a context manager.

  Leaving it, however that comes, writes what was traced until then. Only the
  first of several processes traces: they all do the same.

  Args:
    folder: of the run.
    steps: to trace, none when empty.
  """

  def __init__(self, folder: pathlib.Path, steps: range):
    self._folder = folder / PROFILE
    self._steps = steps if jax.process_index() == 0 else range(0)
    self._tracing = self._traced = False

  def __enter__(self) -> 'Profiler':
    return self

  def __exit__(self, *_: object) -> None:
    self._stop()
    if self._steps and not self._traced:
      log.warning('--profile: none of its steps was run, and nothing is traced')

  @contextlib.contextmanager
  def step(self, number: int, settle: Callable[[], None]) -> Iterator[None]:
    """Marks a step, and traces it if it is one of those asked for.

    Args:
      number: of the step.
      settle: waits for what was dispatched; called before a trace begins, so
        that no other step is in it, and before it ends, so that all of its own
        steps are.
    """
    over = self._traced and not self._tracing
    if number not in self._steps or over:
      yield
      return
    if not self._tracing:
      settle()
      self._start()
    try:
      with jax.profiler.StepTraceAnnotation('train', step_num=number):
        yield
    except BaseException:
      # A step that is undone comes again: it is not traced twice.
      self._stop()
      raise
    if number == self._steps[-1]:
      settle()
      self._stop()

  def _start(self) -> None:
    options = jax.profiler.ProfileOptions()
    # Calls of Python would be most of the file.
    options.python_tracer_level = 0
    options.session_id = f'steps-{self._steps.start}-{self._steps.stop}'
    jax.profiler.start_trace(self._folder, profiler_options=options)
    self._tracing = self._traced = True

  def _stop(self) -> None:
    if self._tracing:
      self._tracing = False
      jax.profiler.stop_trace()
      log.info('the trace is in %s', self._folder)

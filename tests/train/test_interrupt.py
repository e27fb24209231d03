"""Signals between two steps."""

import os
import signal

import pytest

from train.interrupt import stop_request


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_only_leaves_a_request(number):
  with stop_request() as stop:
    assert not stop
    os.kill(os.getpid(), number)
    assert stop


def test_a_second_ctrl_c_interrupts_at_once():
  with stop_request() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop
    with pytest.raises(KeyboardInterrupt):
      os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back():
  before = signal.getsignal(signal.SIGINT)
  with stop_request():
    assert signal.getsignal(signal.SIGINT) is not before
  assert signal.getsignal(signal.SIGINT) is before

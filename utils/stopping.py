"""Being asked to stop: by Ctrl-C, by a scheduler, or by torchrun."""

import os
import signal
from contextlib import suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(Exception):  # noqa: N818, as it is no error, like KeyboardInterrupt
    """Training stopped because it was asked to, with everything saved; the message says by what."""


class StopRequest:
    """Inside ``with``, the first signal is only noted in ``received``, for the step to be finished and saved.

    A Ctrl-C after it, or any signal after a Ctrl-C, raises KeyboardInterrupt at once. ``announce``: whether this
    process tells that it was heard.
    """

    def __init__(self, announce: bool = True) -> None:
        self.announce = announce
        self.received: str | None = None  # the signal's name

    def __enter__(self) -> "StopRequest":
        self.before = {number: signal.signal(number, self.note) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number).name
            if self.announce:  # not by print, which may be at work at this very moment
                with suppress(OSError):
                    os.write(2, f"\n{self.received}: finishing this step; Ctrl-C stops at once\n".encode())
        elif signal.SIGINT in (number, signal.Signals[self.received]):  # a second Ctrl-C is SIGTERM under torchrun
            raise KeyboardInterrupt


def leave_stopping_to_the_parent(_: int = 0) -> None:
    """For processes that read data: a signal to the whole group must not take away what the last step needs."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)

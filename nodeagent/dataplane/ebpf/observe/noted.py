"""What the policy driver carried out last, for jobs that run beside it in other threads."""

from collections.abc import Callable

from nodeagent.drivers import DesiredPolicy, Driver, ObjectReport


class NotedDriver:
    """Driver[DesiredPolicy] around another one. `done` is what the maps hold; `turn` is odd while they are being written, and another number
    after each round, so that who reads them can tell that they stood still meanwhile."""

    def __init__(self, inner: Driver[DesiredPolicy]) -> None:
        self._inner = inner
        self.before_first: Callable[[], None] = lambda: None
        """Called before the first round touches anything; must not raise."""
        self.name = type(inner).__name__
        self.done: DesiredPolicy | None = None
        self.turn = 0

    def converge(self, desired: DesiredPolicy) -> tuple[ObjectReport, ...]:
        """As the inner one."""
        if self.turn == 0:
            self.before_first()
        self.turn += 1
        try:
            reports = self._inner.converge(desired)
            self.done = desired
        finally:
            self.turn += 1
        return reports

    def withdraw(self) -> tuple[ObjectReport, ...]:
        """As the inner one."""
        self.done = None
        return self._inner.withdraw()

    def standing(self) -> tuple[int, DesiredPolicy | None]:
        """(turn, what stands); None while nothing does, or a round is under way."""
        turn = self.turn
        return turn, None if turn % 2 else self.done

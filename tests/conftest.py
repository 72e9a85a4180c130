"""For every test: the processes that tests start hear Ctrl-C, also where the tests run in the background of a script."""

import signal


def pytest_configure() -> None:
    """A shell lets background commands ignore SIGINT; what they start inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

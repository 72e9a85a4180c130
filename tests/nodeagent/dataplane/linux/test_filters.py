"""What the kernel's refusals mean to a user."""

import errno

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from federation.errors import DriverError, PlatformLack
from nodeagent.dataplane.linux.filters import refusal


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.ENOENT])
def test_a_kernel_without_clsact_is_named_and_what_still_works_too(code: int) -> None:
    error = refusal(NetlinkError(code), "add clsact")
    assert isinstance(error, PlatformLack)
    assert "clsact" in error.message
    assert "CONFIG_NET_CLS_ACT" in error.hint
    assert "still work" in error.hint


def test_missing_rights_are_named() -> None:
    error = refusal(NetlinkError(errno.EPERM), "attach from_endpoint")
    assert isinstance(error, PlatformLack)
    assert "attach from_endpoint: no rights" in error.message
    assert "CAP_NET_ADMIN" in error.hint


def test_an_interface_that_went_meanwhile_is_tried_again() -> None:
    error = refusal(NetlinkError(errno.ENODEV), "add clsact")
    assert isinstance(error, DriverError)
    assert "gone" in error.message
    assert "again" in error.hint


def test_any_other_refusal_says_what_was_tried() -> None:
    error = refusal(NetlinkError(errno.ENOMEM, "no memory"), "detach")
    assert isinstance(error, DriverError)
    assert "detach" in error.message
    assert "no memory" in error.message

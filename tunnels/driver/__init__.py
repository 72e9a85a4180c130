"""Drivers of WireGuard: the kernel's, a user-space one, and a fake that passes the same tests."""

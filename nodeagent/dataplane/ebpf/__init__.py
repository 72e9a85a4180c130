"""Verdicts in the kernel: the layout of maps (pure), the loader, the programs."""

"""Doors of policy: documents of other worlds, and of ours, into the one model."""

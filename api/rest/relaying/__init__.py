"""Relays: who they may speak for at the control plane, and the application that serves their own nodes."""

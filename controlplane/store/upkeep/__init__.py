"""The database's life around the control plane: made, upgraded, checked, copied, backed up, restored."""

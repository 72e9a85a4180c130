"""The node agent: follows the control plane, decides what its node needs, makes it so."""

"""The relay of a cluster: one stream from the control plane, served to all its nodes, from disk while the control plane is away."""

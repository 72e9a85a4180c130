"""The control plane's own certificate authority: who a node is, by a certificate."""

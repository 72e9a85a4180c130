"""Routes of the certificate authority and of the certificates of nodes."""

"""WireGuard: keys, peers (pure) and the drivers that program them."""

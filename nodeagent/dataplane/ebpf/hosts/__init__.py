"""What the node's own interfaces are asked: its host endpoints."""

"""What a resource is: metadata, keys, kinds, their registry and the codec between documents and values."""

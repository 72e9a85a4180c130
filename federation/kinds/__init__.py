"""The kinds of resources, one file each. `registry.py` lists them all."""

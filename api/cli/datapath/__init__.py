"""Commands that show what a node's kernel does: `causeway agent maps|endpoints|conntrack|verdict|flows`."""

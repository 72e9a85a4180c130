"""The shared, pure vocabulary of Causeway: resources, selectors, identities, policy, wire messages."""

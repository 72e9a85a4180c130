"""Calico's selector language: tokens, tree, canonical text, evaluation."""

from federation.selectors.parser import ALL, Selector, and_, equals, not_, parse

__all__ = ["ALL", "Selector", "and_", "equals", "not_", "parse"]

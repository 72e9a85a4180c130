"""Calico's selector language: tokens, tree, canonical text, evaluation."""

"""What the pinned maps hold, read back and told in names: for people, while an agent runs or is dead."""

"""How many reads and writes a second one replica answers, and how the cost grows with what stands."""

"""The agent's line to the control plane: the stream, the copy of what it says in memory and on disk, and what is told back."""

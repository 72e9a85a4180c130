"""What keeps the datapath standing from one agent, and one release, to the next."""

"""Policy: who is subject to what, in which order, with which verdict, and the tables that say so."""

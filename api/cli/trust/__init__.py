"""Commands about certificates: the authority, joining, and what the command line trusts."""

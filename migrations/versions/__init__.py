"""The migrations, in order. Appended to, never edited."""

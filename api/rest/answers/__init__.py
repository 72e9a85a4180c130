"""What is said around an answer, and answers that do not end."""

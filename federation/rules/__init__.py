"""What policies of every kind are made of: their rules, the checks of these, and what the kinds share."""

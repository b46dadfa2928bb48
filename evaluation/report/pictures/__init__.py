"""What a report draws: one file for each kind of picture, all in one style (`drawing`)."""

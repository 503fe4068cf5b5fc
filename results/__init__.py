"""What is done with a label set: its tables measured, compared, looked at, exported. Nothing here writes labels."""

"""What is done with a labelling: its tables measured, compared, looked at, exported. Nothing here writes labels."""

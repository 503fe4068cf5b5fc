"""What a job is: command line, settings, the whole graph. `LabelImages` is labelling as a step of one's own pipeline."""

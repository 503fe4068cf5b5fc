"""Engine `keras`: the published detectors as Keras 3 networks, with real batches and no work that nobody asked for.

Names are those of the TF Object Detection API (layers, outputs), so that its published weights fit by name.
"""

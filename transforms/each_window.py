"""An element that lies in several windows as one element for each, for steps that take Beam's `WindowedValue` whole.

Such a step keeps an element's timestamp and window by `with_value`. Asked for with `TimestampParam` and `WindowParam`,
they cost ten times as much, but Beam then calls the step once a window; here that is done where it's needed.
"""

import apache_beam as beam


def in_each_window(elements: beam.PCollection) -> beam.PCollection:
    """The elements, each in one window; the same PCollection where there is no other than the global window."""
    if elements.windowing.is_default():
        return elements
    in_one = beam.Map(lambda element, window=beam.DoFn.WindowParam: element)  # Beam calls it once a window
    return elements | "EachWindow" >> in_one.with_output_types(elements.element_type)  # pyright: ignore[reportReturnType]  # Beam types | as PValue

"""What do the Keras networks cost, part by part, before and after the rearrangements that save work?

    python -m benchmarks.detectors.keras_costs          # a minute; no weights needed

Prints a Markdown table of parameters and GMAC an image, counted from the layers' shapes. Peer: the published graphs.
"""

from labelbeam.detectors.keras.networks import build_network

from ..figures import Figure, arguments, publish
from .network_costs import centernet_parts, mask_rcnn_parts, parameters


def print_table(title, network, parts) -> Figure:
    published, keras = sum(part.plain_gmac for part in parts), sum(part.keras_gmac for part in parts)
    print(f"\n{title}: {parameters(network) / 1e6:.1f} M parameters\n")
    print("| part | published, GMAC | keras, GMAC |\n|---|---|---|")
    for part in parts:
        print(f"| {part.name} | {part.plain_gmac:.1f} | {part.keras_gmac:.1f} |")
    print(f"| all | {published:.1f} | {keras:.1f} |")
    return Figure(f"arithmetic of an image, {title}", "the published graph", "GMAC", keras, published, False)


def main():
    args = arguments(__doc__).parse_args()
    centernet = build_network("centernet_resnet50v2_512x512")
    figures = [print_table("CenterNet", centernet, centernet_parts(centernet))]
    mask_rcnn = build_network("mask_rcnn_inception_resnet_v2_1024x1024")
    for num_masks in (10, 100):
        title = f"Mask R-CNN, {num_masks} detections kept"
        figures.append(print_table(title, mask_rcnn, mask_rcnn_parts(mask_rcnn, num_masks)))
    print()
    publish(figures, args.json)


if __name__ == "__main__":
    main()

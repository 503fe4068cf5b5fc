import base64
import io
import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow.dataset as ds
import pytest
from labelbeam.labelset import compact
from labelbeam.labelset.parts import count_part, delete_parts, list_parts
from labelbeam.pipeline.cli import main
from labelbeam.results.drawing.charts import BOTTOM, TOP, column_chart, nice_ceiling, short_number
from labelbeam.results.reader import open_label_set
from labelbeam.results.report.choice import CONFIDENT, CROWDED, NOTHING, RANDOM, UNSURE
from labelbeam.results.report.data import BOX_SIDE_EDGES, NUM_SCORE_BINS, collect_report_data
from labelbeam.results.report.report import MAX_PAGE_BYTES, rate_chart
from PIL import Image

from tests.fakes.generated_label_sets import generate_label_set
from tests.fakes.output_folders import NAMES, detections, failed, labelled, write_part


class Page(HTMLParser):
    """A page's elements as (tag, attributes, text directly inside)."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text("utf-8")
        self.elements, self._open = [], []
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])
        self._open.append(self.elements[-1])

    def handle_data(self, data):
        if self._open:
            self._open[-1][2] += data

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def all(self, tag, css_class=""):
        return [
            element
            for element in self.elements
            if element[0] == tag and (not css_class or css_class in (element[1].get("class") or "").split())
        ]

    @property
    def data(self):
        return json.loads(next(text for _, attributes, text in self.all("script") if attributes.get("id") == "data"))

    @property
    def uris(self):
        return [text for _, _, text in self.all("div", "uri")]


def bind(output, **settings):
    (output / "_label_set.json").write_text(json.dumps({"settings": {"detector": "demo", **settings}}))
    return output


def make_output(
    folder, scores_of=((0.9, 0.5), (0.7,), ()), size_hw=(90, 120), mask_format="rle", fails=("http://host/c.jpg",)
):
    images = []
    for index, scores in enumerate(scores_of):
        path = folder / f"{index}.png"
        Image.new("RGB", size_hw[::-1], (40, 60, 200)).save(path)
        images.append(labelled(path, size_hw, detections(scores, [1, 2][: len(scores)])))
    images += [failed(uri, "cut short") for uri in fails]
    tables = ("detections", "images") if mask_format == "none" else ("detections", "masks", "images")
    write_part(folder / "out", images, mask_format, tables=tables)
    return bind(folder / "out", mask_format=mask_format)


def report(output, *options):
    assert main(["report", str(output), *options]) == 0
    return Page(output / "report.html")


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    return generate_label_set(
        tmp_path_factory.mktemp("generated"), 600, num_classes=20, mean_detections=3, failed=0.1, part_images=90
    )


def test_figures_are_those_of_the_tables(generated):
    data = collect_report_data(open_label_set(str(generated)))
    images, found = (ds.dataset(generated / table).to_table().to_pandas() for table in ("images", "detections"))
    assert data.images == 600 and data.failures == images.error_kind.value_counts().to_dict()
    assert data.class_counts == found.class_name.value_counts().to_dict()
    assert list(data.class_counts.values()) == sorted(data.class_counts.values(), reverse=True)
    assert dict(data.detections_per_image) == images.num_detections.dropna().value_counts().to_dict()
    bins = np.histogram(found[found.class_name == "class 2"].score, NUM_SCORE_BINS, (0, 1))[0]
    np.testing.assert_array_equal(data.score_bins["class 2"], bins)
    sides = np.histogram(np.sqrt(found.w.astype(float) * found.h), [0, *BOX_SIDE_EDGES, np.inf])[0]
    np.testing.assert_array_equal(data.box_sides, sides)
    seconds = images.labelled_at.dt.floor("s").value_counts().sort_index()
    np.testing.assert_array_equal(data.labelled, seconds)
    np.testing.assert_array_equal(data.labelled_at_s, [int(time.timestamp()) for time in seconds.index])


def test_images_are_chosen_for_what_they_show(generated):
    chosen = collect_report_data(open_label_set(str(generated))).chosen
    found = ds.dataset(generated / "detections").to_table().to_pandas()
    means = found.groupby("image_id").score.mean().sort_values()
    counts = found.image_id.value_counts()
    ids = {
        group: [image.image_id for image in chosen if image.group == group] for group in (CONFIDENT, UNSURE, CROWDED)
    }
    assert ids[UNSURE] == means.index[:6].tolist() and ids[CONFIDENT] == means.index[:-7:-1].tolist()
    assert counts[ids[CROWDED]].tolist() == counts.tolist()[:6]
    by_class = [(image.detail, image.image_id) for image in chosen if image.group == "by class"]
    assert len(set(by_class)) == len(by_class) == 18
    assert set(by_class) <= set(zip(found.class_name, found.image_id))
    kinds = [image.detail for image in chosen if image.group == "failed"]
    assert sorted(kinds) == sorted(["timeout", "not_found", "truncated"] * 4)


def test_images_are_sampled_at_random_and_those_in_which_nothing_was_found(generated):
    chosen = collect_report_data(open_label_set(str(generated))).chosen
    images = ds.dataset(generated / "images").to_table().to_pandas().set_index("image_id").num_detections
    sample, empty = ([i.image_id for i in chosen if i.group == group] for group in (RANDOM, NOTHING))
    assert len(set(sample)) == 12 and images[sample].notna().all() and images[sample].nunique() > 1
    assert len(set(empty)) == 6 and (images[empty] == 0).all()


def test_images_that_are_nearly_the_same_are_shown_once(tmp_path):
    def frame(number, shift):  # of a scene
        boxes = np.float32([[0.2, 0.1, 0.6, 0.4], [0.3, 0.5, 0.9, 0.8]]) + np.float32(shift)
        return labelled(f"{number}.png", (90, 120), detections([0.99 - shift, 0.98 - shift], [1, 2], boxes))

    frames = [frame(number, number / 2000) for number in range(20)]
    others = [labelled(f"other-{i}.png", (90, 120), detections([0.9 - i / 10] * (i + 1))) for i in range(3)]
    write_part(tmp_path, [*frames, *others], "none", tables=("detections", "images"))
    chosen = collect_report_data(open_label_set(str(tmp_path))).chosen
    confident = [image.image_id for image in chosen if image.group == CONFIDENT]
    assert confident == [image.reference.image_id for image in (frames[0], *others)]


def test_the_choice_follows_the_seed_and_not_the_parts(tmp_path):
    images = [labelled(f"{number}.png", (30, 40), detections([0.5])) for number in range(200)]
    write_part(tmp_path / "one", images)
    for number in range(5):
        write_part(tmp_path / "five", images[number::5], stem=f"part-{number}")
    chosen = [
        {image.image_id for image in collect_report_data(open_label_set(str(tmp_path / output)), seed).chosen}
        for output, seed in (("one", 0), ("five", 0), ("one", 1))
    ]
    assert chosen[0] == chosen[1] and len(chosen[0] & chosen[2]) < 6


def test_a_part_that_is_read_in_row_groups_gives_the_same_report(generated, monkeypatch):
    small = open_label_set(str(generated))
    parts = [count_part(str(generated), stem, sizes) for stem, sizes in list_parts(str(generated)).items()]
    monkeypatch.setattr(compact, "GROUP_BYTES", sum(sum(part.num_bytes.values()) for part in parts) // 5)
    made = compact.rewrite_parts(str(generated), "part-j-c0123456789ab", parts, {})
    assert made is not None
    large = replace(small, parts={made.stem: made.num_bytes})
    assert len(large.portions(made.stem)) > 2
    one, other = (collect_report_data(label_set) for label_set in (small, large))
    delete_parts(str(generated), {made.stem: made.num_bytes})
    for name in ("images", "failures", "detections_per_image", "class_counts"):
        assert getattr(one, name) == getattr(other, name)
    for name in ("box_sides", "labelled_at_s", "labelled"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert [image._replace(stem="") for image in one.chosen] == [image._replace(stem="") for image in other.chosen]


def test_the_page_shows_each_image_with_its_layers(tmp_path, capsys):
    page = report(make_output(tmp_path))
    assert "Report of 4 images" in capsys.readouterr().out
    assert sorted(page.uris) == sorted([*(str(tmp_path / f"{index}.png") for index in (0, 1, 2)), "http://host/c.jpg"])
    images = [attributes["href"] for _, attributes, _ in page.all("image") if "mask" not in attributes.get("class", "")]
    for uri in images:
        with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")))) as file:
            assert file.format == "JPEG" and np.allclose(np.asarray(file).mean((0, 1)), (40, 60, 200), atol=4)
    masks = page.all("image", "mask")
    assert len(images) == 3 and len(masks) == 3
    with Image.open(io.BytesIO(base64.b64decode(masks[0][1]["href"].removeprefix("data:image/png;base64,")))) as file:
        opacity = np.asarray(file.convert("RGBA"))[..., 3]
    assert opacity[0, 0] == 0 and opacity.max() == 255 and opacity[opacity.shape[0] // 2, opacity.shape[1] // 2] == 107
    assert [text for _, _, text in page.all("text") if text.startswith(("ball", "box"))].count("box 0.50") == 1
    boxes = [(attributes["x"], attributes["width"]) for _, attributes, _ in page.all("rect", "box")]
    assert sorted(boxes) == [("0.0", "320.0"), ("0.0", "640.0"), ("320.0", "320.0")]
    assert [text for _, _, text in page.all("strong")] == ["truncated"]
    assert page.data["classes"] == ["ball", "box"] and sum(page.data["all"]) == 3


def test_the_page_holds_all_that_it_shows(tmp_path):
    page = report(make_output(tmp_path))
    links = [attributes[name] for _, attributes, _ in page.elements for name in ("src", "href") if name in attributes]
    assert len(links) > 5 and all(link.startswith("data:") for link in links)
    assert not page.all("iframe") and "@import" not in page.source and "url(" not in page.source
    assert "default-src 'none'" in page.source


def test_text_of_others_stays_text(tmp_path, monkeypatch):
    evil = "</script><script>alert(1)</script><b>"
    output = make_output(tmp_path)
    plain = report(output)
    monkeypatch.setitem(NAMES, 1, evil)
    page = report(bind(make_output(tmp_path, fails=[f"http://host/{evil}.jpg"]), detector=evil, mask_format="rle"))
    assert [tag for tag, _, _ in page.elements] == [tag for tag, _, _ in plain.elements]
    assert f"http://host/{evil}.jpg" in page.uris and page.data["classes"] == [evil, "box"]


def test_a_image_that_is_gone_is_said_and_spares_the_others(tmp_path):
    output = make_output(tmp_path)
    (tmp_path / "1.png").unlink()
    page = report(output)
    assert sorted(text for _, _, text in page.all("strong")) == ["labelled, but can't be shown", "truncated"]
    assert len(page.all("svg", "image")) == 2


def test_a_label_set_without_masks(tmp_path):
    page = report(make_output(tmp_path, mask_format="none"))
    assert len(page.all("rect", "box")) == 3 and not page.all("image", "mask")
    assert not [attributes for _, attributes, _ in page.all("input") if attributes["name"] == "masks"]


def test_a_label_set_in_which_all_failed(tmp_path):
    page = report(make_output(tmp_path, scores_of=(), fails=[f"http://host/{number}.jpg" for number in range(30)]))
    assert len(page.uris) == 6 and not page.all("svg", "image")
    assert [text for _, _, text in page.all("dd")] == ["30", "30", "0"]


def test_a_label_set_in_which_nothing_was_found(tmp_path):
    page = report(make_output(tmp_path, scores_of=((), ()), fails=()))
    assert len(page.uris) == 2 and [text for _, _, text in page.all("dd")] == ["2", "0", "0", "0.0", "2"]


def test_parts_that_were_never_finished_do_not_count(tmp_path):
    output = make_output(tmp_path)
    write_part(output, [labelled("a.png", (30, 40), detections([0.5]))], stem="part-b", tables=("detections", "masks"))
    assert sum(report(output).data["all"]) == 3


@pytest.mark.parametrize(
    "options, said",
    [
        (["--output", "page.png"], "page.png: expected a name that ends in .html"),
        (["--output", "/dev/null/page.html"], "can't be written"),
        (["--seed", "-1"], "--seed -1: expected a whole number of 0 or more"),
    ],
)
def test_options_that_cannot_be_used_are_said(tmp_path, options, said, capsys):
    assert main(["report", str(make_output(tmp_path)), *options]) == 2
    assert said in capsys.readouterr().err


def test_folders_without_labels_are_said(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "not the output folder of a label set" in capsys.readouterr().err
    bind(tmp_path)
    assert main(["report", str(tmp_path)]) == 2
    assert "no labelled images; no job has finished a part yet" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


@pytest.mark.heavy
def test_the_page_stays_small_when_everything_is_large(tmp_path):
    output = generate_label_set(tmp_path, 60, num_classes=3000, mean_detections=90)
    page = report(output)
    assert len(page.all("image", "mask")) > 100 and len(page.all("svg", "image")) > 10
    assert (output / "report.html").stat().st_size <= MAX_PAGE_BYTES


@pytest.mark.parametrize(
    "value, ceiling", [(0, 1), (1, 1), (7, 8), (20, 20), (2001, 4000), (99_999, 100_000), (0.03, 0.04)]
)
def test_axes_end_at_round_numbers(value, ceiling):
    assert nice_ceiling(value) == pytest.approx(ceiling)


def test_columns_are_as_high_as_their_values():
    chart = column_chart("", [5, 10, 0], ["a", "b", "c"], [])
    heights = [column.height for column in chart.columns]
    assert heights == [(BOTTOM - TOP) / 2, BOTTOM - TOP, 0]
    assert [line.text for line in chart.gridlines] == ["0", "5", "10"] and short_number(1500) == "1.5k"


def test_the_rate_is_smoothed():
    """A detector that labels 8 images at once every 4 seconds labels 2 a second."""
    chart = rate_chart(1_700_000_000 + np.arange(0, 60, 4), np.full(15, 8))
    rates = [float(column.title.rpartition(": ")[2].removesuffix(" images/s")) for column in chart.columns]
    assert max(rates[5:-5]) <= 3.2 and min(rates[5:-5]) >= 1.6


def test_pauses_are_left_out_of_the_rate():
    at_work = np.concatenate([np.arange(100), 50_000 + np.arange(20)])
    chart = rate_chart(at_work + 1_700_000_000, np.full(120, 3))
    assert len(chart.pauses) == 1 and len(chart.columns) == 60
    assert len({column.height for column in chart.columns}) == 1
    assert chart.labels[1].text == "2 min at work" and "3.0 images/s" in chart.columns[-1].title


@pytest.mark.heavy
def test_100_000_images_take_little_memory_and_make_a_small_page(tmp_path):
    output = generate_label_set(tmp_path, 100_000)
    # Not ru_maxrss: a process inherits that of the one that started it, here pytest after heavier tests.
    code = (
        "import sys; from labelbeam.pipeline.cli import main; assert main(['report', sys.argv[1]]) == 0; "
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(output)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) * 1024 < 1e9
    assert (output / "report.html").stat().st_size <= MAX_PAGE_BYTES


@pytest.mark.heavy
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_and_filters_the_page(tmp_path, chromium, width):
    output = make_output(tmp_path)
    report(output)
    page, complaints, requests = chromium.new_page(viewport={"width": width, "height": 900}), [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((output / "report.html").as_uri())

    def visible(selector):
        return sum(element.is_visible() for element in page.query_selector_all(selector))

    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert (visible(".item"), visible(".box"), visible(".mask"), visible(".label")) == (4, 3, 3, 3)
    assert page.evaluate(
        "Promise.all([...document.querySelectorAll('svg image')].map(element => {"
        " const image = new Image(); image.src = element.getAttribute('href');"
        " return image.decode().then(() => image.naturalWidth > 0); })).then(all => all.every(Boolean))"
    )
    page.select_option("[name=class]", label="box")
    assert (visible(".item"), visible(".box")) == (1, 1)
    assert "1 of all 3 detections" in page.inner_text("#shown") and page.inner_text("#scores-of") == "of box"
    page.select_option("[name=class]", label="all")
    page.locator("[name=score]").fill("0.6")
    assert (visible(".item"), visible(".box")) == (2, 2)
    page.locator("[name=score]").fill("0.95")
    assert visible(".item") == 0 and visible("#empty") == 1
    assert page.inner_text("#why") == "No detection scores 0.95 or more: all 3 score below 0.95."
    page.click("#empty button")
    page.select_option("[name=class]", label="box")
    page.select_option("[name=group]", label="failed")
    assert "Among the sampled images of “failed” none has a detection of class box" in page.inner_text("#why")
    page.click("#empty button")
    assert visible(".item") == 4 and visible("#empty") == 0
    page.click("svg.zoom >> nth=0")
    assert (
        page.locator("dialog svg.zoom").bounding_box()["width"]
        > page.locator(".item svg").first.bounding_box()["width"]
    )
    page.click("dialog svg.zoom")
    assert page.locator("dialog").is_visible() is False
    page.click("button.bar >> nth=1")
    assert page.get_attribute("button.bar >> nth=1", "aria-pressed") == "true" and visible(".box") == 1
    page.click("button.bar >> nth=1")
    page.uncheck("[name=masks]")
    page.uncheck("[name=names]")
    assert (visible(".box"), visible(".mask"), visible(".label")) == (3, 0, 0)
    page.select_option("[name=group]", label="failed")
    assert (visible(".item"), visible(".problem")) == (1, 1)
    assert not complaints and all(url.startswith(("file:", "data:")) for url in requests)

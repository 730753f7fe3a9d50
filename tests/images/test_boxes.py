"""Lists of boxes: each kind as its makers mean it, and everything that can be wrong with one told at once."""

import json

import pytest

from cofire.errors import DataError, LabelError, OptionError
from cofire.images.boxes import read_boxes

from .folders import boxes_json, coco, entry, xml

NAMES = ["dog", "cat", "crane", "crane"]
BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<annotation><filename>&c;</filename></annotation>"""


def refused(error, *args, **options):
    with pytest.raises(error) as caught:
        read_boxes(*args, **options)
    assert type(caught.value) is error
    return str(caught.value)


class TestJsonLists:
    def test_boxes_are_taken_as_they_are(self, tmp_path):
        file = boxes_json(
            tmp_path / "b.json", entry("a.jpg", 3, [(0, 1, 5, 5.5)]), entry("b.jpg", "Cat", [])
        )
        first, second = read_boxes(file, NAMES).entries
        assert (first.name, first.label, first.labels, first.boxes) == (
            "a.jpg",
            3,
            (3,),
            ((0.0, 1.0, 5.0, 5.5),),
        )
        assert (first.size, second.label, second.boxes) == ((20, 10), 1, ())

    def test_a_list_without_sizes_is_in_pixels_of_the_files(self, tmp_path):
        one = {"file": "a.jpg", "label": 0, "boxes": [], "note": "not read"}
        assert read_boxes(boxes_json(tmp_path / "b.json", one)).entries[0].size is None

    def test_faults_are_told_all_at_once(self, tmp_path):
        file = boxes_json(
            tmp_path / "b.json",
            7,
            {"label": 1},
            {"file": "c.jpg"},
            entry("d.jpg", boxes=[(1, 2, 3)]),
            entry("e.jpg", boxes=[("1", 2, 3, 4)]),
            entry("f.jpg", 4),
            entry("g.jpg", True),
            entry("h.jpg", size=(0, 5)),
            {"file": "i.jpg", "label": 0, "boxes": {"left": 1}},
            entry("j.jpg", -1),
            entry("k.jpg", 1.0),
            entry("l.jpg", boxes=[(10**400, 0, 1, 1)]),
            entry("m.jpg", boxes=[(True, 0, 1, 1)]),
            {"file": "n.jpg", "label": 0, "boxes": [5]},
        )
        message = refused(DataError, file, NAMES)
        assert "has faults (14)" in message
        for words in (
            "entry 0: is int",
            "entry 1: has no file name",
            "'c.jpg': has no label and no boxes",
            "'d.jpg': has the box 1, 2, 3, not four",
            "'e.jpg'",
            "'f.jpg': class 4, not from 0 to 3",
            "'g.jpg': the class True",
            "'h.jpg': has the size [0, 5]",
            "'i.jpg': has boxes that are no list",
            "'j.jpg': class -1",
            "'k.jpg': the class 1.0",
            "'l.jpg'",
            "'m.jpg'",
            "'n.jpg'",
        ):
            assert words in message

    def test_of_many_faults_twenty_are_shown_with_the_number_of_all(self, tmp_path):
        file = boxes_json(tmp_path / "b.json", *({"file": f"{i}.jpg"} for i in range(1000)))
        message = refused(DataError, file)
        assert "(1,000)" in message
        assert "and 980 more" in message
        assert "'19.jpg'" in message
        assert "'20.jpg'" not in message

    def test_boxes_that_are_none_are_refused_or_left_out_and_counted(self, tmp_path):
        odd = [
            (5, 0, 2, 4),
            (0, 5, 4, 2),
            (3, 3, 3, 6),
            (float("nan"), 0, 1, 1),
            (0, 0, float("inf"), 1),
        ]
        file = boxes_json(tmp_path / "b.json", entry("a.jpg", boxes=[*odd, (0, 0, 1, 1)]))
        message = refused(DataError, file)
        assert "(5)" in message
        for words in (
            "ends left of",
            "ends above",
            "has no area",
            "nan, 0, 1, 1 holds a number that is not finite",
        ):
            assert words in message
        found = read_boxes(file, skip_faulty=True)
        assert (found.reasons.get("faulty", 0), found.entries[0].boxes) == (
            5,
            ((0.0, 0.0, 1.0, 1.0),),
        )
        assert found.told == "1 box on 1 image (list of boxes); left out: 5 faulty"

    def test_an_image_has_one_entry(self, tmp_path):
        file = boxes_json(
            tmp_path / "b.json", entry("a.jpg"), entry("b.jpg"), entry("a.jpg"), entry("b.jpg")
        )
        assert "(2): a.jpg; b.jpg" in refused(DataError, file)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "no json",
            "[",
            '{"a": 1}',
            "[]",
            "[" * 100_000,
            '[{"file": "a", "file": "b"}]',
            "5",
            "\x00",
            "{}",
        ],
    )
    def test_what_is_no_list_of_boxes_is_refused(self, tmp_path, text):
        file = tmp_path / "b.json"
        file.write_text(text)
        refused(DataError, file)

    def test_what_is_no_text_or_no_file_is_refused(self, tmp_path):
        (tmp_path / "b.json").write_bytes(b'["\xff"]')
        refused(DataError, tmp_path / "b.json")
        refused(DataError, tmp_path / "absent.json")
        (tmp_path / "empty").mkdir()
        assert "no XML file" in refused(DataError, tmp_path / "empty")

    def test_a_mark_of_byte_order_does_no_harm(self, tmp_path):
        (tmp_path / "b.json").write_text(json.dumps([entry("a.jpg")]), encoding="utf-8-sig")
        assert len(read_boxes(tmp_path / "b.json")) == 1


class TestClassNames:
    def test_all_unknown_ones_are_told_with_those_near_to_them(self, tmp_path):
        file = boxes_json(
            tmp_path / "b.json",
            entry("a.jpg", "dgo"),
            entry("b.jpg", "crane"),
            entry("c.jpg", "cat"),
        )
        message = refused(LabelError, file, NAMES)
        assert "(2): 'dgo', near 'dog'; 'crane' names several classes" in message

    def test_they_are_left_out_and_counted_when_asked(self, tmp_path):
        file = boxes_json(
            tmp_path / "b.json", entry("a.jpg", "dgo", [(0, 0, 1, 1)] * 3), entry("c.jpg", "cat")
        )
        found = read_boxes(file, NAMES, skip_unknown=True)
        assert (found.reasons["of unknown classes"], [one.label for one in found.entries]) == (
            3,
            [None, 1],
        )

    def test_without_a_list_of_classes_a_name_says_nothing(self, tmp_path):
        file = boxes_json(tmp_path / "b.json", entry("a.jpg", "dog"))
        assert "without a list of classes" in refused(LabelError, file)

    def test_wordnet_numbers_are_places_in_their_list(self, tmp_path):
        file = boxes_json(tmp_path / "b.json", entry("a.jpg", "n00000002"))
        assert read_boxes(file, synsets=["n00000001", "n00000002"]).entries[0].label == 1
        assert "near 'n00000001'" in refused(LabelError, file, synsets=["n00000001"])

    def test_lists_of_classes_agree_in_length_and_hold_each_number_once(self, tmp_path):
        file = boxes_json(tmp_path / "b.json", entry("a.jpg"))
        assert "4 names, 5 num_classes" in refused(OptionError, file, NAMES, num_classes=5)
        assert "(1): n00000001" in refused(LabelError, file, synsets=["n00000001"] * 2)


class TestXml:
    def test_voc_counts_from_1_and_ilsvrc_from_0_and_both_include_the_last_pixel(self, tmp_path):
        xml(tmp_path / "v" / "a.xml", ("dog", (1, 1, 20, 10)))
        xml(tmp_path / "i" / "a.xml", ("n00000001", (0, 0, 19, 9)), database="ILSVRC_2012")
        xml(tmp_path / "n" / "a.xml", ("n00000001", (0, 0, 19, 9)), database="Mine")
        for folder in "vin":
            found = read_boxes(tmp_path / folder, ["dog"], ["n00000001"])
            assert found.entries[0].boxes == ((0.0, 0.0, 20.0, 10.0),)
        found = read_boxes(tmp_path / "v" / "a.xml", ["dog"], first_pixel=0)
        assert (found.kind, found.entries[0].name) == ("VOC XML", "a")
        assert found.entries[0].boxes == ((1.0, 1.0, 21.0, 11.0),)
        for given in (2, True):
            refused(OptionError, tmp_path / "v", ["dog"], first_pixel=given)

    def test_a_box_of_one_pixel_is_a_box_and_a_part_of_a_thing_is_none(self, tmp_path):
        part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
        xml(tmp_path / "a.xml", ("cat", (4, 4, 4, 4), part), ("dog", (1.5, 1, 2, 2)))
        (one,) = read_boxes(tmp_path, NAMES).entries
        assert (one.labels, one.boxes) == ((1, 0), ((3.0, 3.0, 4.0, 4.0), (0.5, 0.0, 2.0, 2.0)))
        assert (one.label, one.size) == (None, (20, 10))

    def test_difficult_boxes_are_left_out_and_counted_unless_asked_for(self, tmp_path):
        flag = "<difficult>1</difficult>"
        xml(
            tmp_path / "a.xml",
            ("cat", (1, 1, 2, 2), flag),
            ("cat", (1, 1, 3, 3), "<difficult>0</difficult>"),
        )
        found = read_boxes(tmp_path, NAMES)
        assert (found.reasons.get("difficult", 0), len(found.entries[0].boxes)) == (1, 1)
        found = read_boxes(tmp_path, NAMES, difficult=True)
        assert (found.reasons.get("difficult", 0), len(found.entries[0].boxes)) == (0, 2)

    def test_folders_below_count_and_names_are_without_endings(self, tmp_path):
        for name in ("b/2.xml", "a/1.xml", "0.XML"):
            xml(tmp_path / name)
        assert [one.name for one in read_boxes(tmp_path).entries] == ["0", "a/1", "b/2"]

    def test_images_without_a_size_or_with_a_size_of_0_are_as_large_as_their_file(self, tmp_path):
        xml(tmp_path / "a.xml", size=(0, 0))
        (tmp_path / "b.xml").write_text("<annotation><filename>%s.jpg</filename></annotation>")
        assert [one.size for one in read_boxes(tmp_path).entries] == [None, None]

    def test_faults_are_told_all_at_once(self, tmp_path):
        (tmp_path / "a.xml").write_text("<annotation><object>")
        (tmp_path / "b.xml").write_text(BOMB)
        (tmp_path / "c.xml").write_text("<html/>")
        xml(tmp_path / "d.xml", filename="other.jpg")
        (tmp_path / "e.xml").write_text(
            "<annotation><object><name>cat</name></object></annotation>"
        )
        xml(tmp_path / "f.xml", ("cat", (1, "two", 3, 4)))
        xml(tmp_path / "g.xml", ("cat", (1, "", 3, 4)))
        xml(tmp_path / "h.xml", ("cat", (1, 1, 3, 4), "<difficult>very</difficult>"))
        xml(tmp_path / "i.xml", ("", (1, 1, 3, 4)))
        xml(tmp_path / "j.xml", size=("wide", 3))
        (tmp_path / "k.xml").write_text("")
        (tmp_path / "l.xml").write_text('<?xml version="1.0" encoding="none-such"?><annotation/>')
        message = refused(DataError, tmp_path, NAMES)
        assert "has faults (12)" in message
        for words in (
            "'a.xml': cannot be read",
            "'b.xml': has a document type",
            "'c.xml': holds <html>",
            "'d.xml': is about 'other.jpg'",
            "'e.xml', object 1: has no <bndbox>",
            "'f.xml', object 1: has the box",
            "'g.xml', object 1: has no <ymin>",
            "'h.xml', object 1: is difficult in the degree 'very'",
            "'i.xml', object 1: the class None",
            "'j.xml': has the size wide × 3",
            "'k.xml': cannot",
            "'l.xml': cannot",
        ):
            assert words in message

    def test_entities_are_never_expanded(self, tmp_path):
        (tmp_path / "a.xml").write_bytes(
            BOMB.replace('"1.0"', '"1.0" encoding="utf-16"').encode("utf-16")
        )
        (tmp_path / "b.xml").write_text('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>')
        assert refused(DataError, tmp_path).count("has a document type") == 2

    def test_boxes_that_are_none_are_told_with_their_place(self, tmp_path):
        xml(tmp_path / "a.xml", ("cat", (9, 1, 3, 4)), ("cat", ("nan", 1, 3, 4)))
        message = refused(DataError, tmp_path, NAMES)
        assert "'a.xml', object 1: box 8.0, 0.0, 3.0, 4.0 ends left of" in message
        assert read_boxes(tmp_path, NAMES, skip_faulty=True).reasons["faulty"] == 2

    def test_the_noted_file_may_have_an_ending_or_a_path(self, tmp_path):
        xml(tmp_path / "a.xml", filename="a.jpg")
        xml(tmp_path / "b.c.xml", filename="C:\\images\\b.c.jpg")
        xml(tmp_path / "d.xml", filename="/data/d.png")
        assert len(read_boxes(tmp_path)) == 3

    def test_two_files_about_one_image_are_refused(self, tmp_path):
        xml(tmp_path / "a.xml")
        xml(tmp_path / "a.XML")
        if len(list(tmp_path.iterdir())) == 2:
            assert "several entries" in refused(DataError, tmp_path)


class TestCoco:
    def test_boxes_are_left_top_width_height_and_classes_go_by_name(self, tmp_path):
        file = coco(
            tmp_path / "c.json",
            [(5, "a.jpg"), ("six", "b.jpg")],
            [
                (5, 2, (1, 2, 3, 4), {}),
                (5, 1, (0.5, 0, 1, 1), {"iscrowd": 0}),
                (5, 1, (0, 0, 9, 9), {"iscrowd": 1}),
            ],
        )
        found = read_boxes(file, NAMES)
        first, second = found.entries
        assert (first.labels, first.boxes) == ((1, 0), ((1.0, 2.0, 4.0, 6.0), (0.5, 0.0, 1.5, 1.0)))
        assert (second.name, second.boxes, second.size, found.reasons.get("crowd", 0)) == (
            "b.jpg",
            (),
            (20, 10),
            1,
        )

    def test_a_category_without_boxes_need_be_no_class(self, tmp_path):
        categories = [(1, "dog"), (9, "kite")]
        file = coco(tmp_path / "c.json", [(5, "a.jpg")], [(5, 1, (0, 0, 1, 1), {})], categories)
        assert len(read_boxes(file, NAMES)) == 1
        file = coco(tmp_path / "c.json", [(5, "a.jpg")], [(5, 9, (0, 0, 1, 1), {})] * 2, categories)
        assert "(1): 'kite'" in refused(LabelError, file, NAMES)
        assert read_boxes(file, NAMES, skip_unknown=True).reasons["of unknown classes"] == 2

    def test_faults_are_told_all_at_once(self, tmp_path):
        file = coco(
            tmp_path / "c.json",
            [(5, "a.jpg"), (5, "b.jpg"), (6, ""), (None, "c.jpg")],
            [
                (7, 1, (0, 0, 1, 1), {}),
                (5, 3, (0, 0, 1, 1), {}),
                (5, 1, (0, 0, 1), {}),
                (5, 1, (0, 0, "1", 1), {}),
                (5, 1, (0, 0, 1, 1), {"iscrowd": 2}),
                ([], 1, (0, 0, 1, 1), {}),
            ],
            [(1, "dog"), (4, "")],
        )
        message = refused(DataError, file, NAMES)
        assert "has faults (10)" in message
        for words in (
            "image 5: is there twice",
            "image 6: has no file_name",
            "image number 3: has no id",
            "category 4: has no name",
            "annotation 0: is about image 7",
            "annotation 1: is of category 3",
            "annotation 2: has the bbox [0, 0, 1]",
            "annotation 3: has the bbox",
            "annotation 4: has iscrowd 2",
            "annotation 5: is about image []",
        ):
            assert words in message

    def test_a_number_too_large_for_a_float_is_a_fault(self, tmp_path):
        for bbox in ((10**400, 0, 1, 1), (0.5, 0, 10**400, 1)):
            file = coco(tmp_path / "c.json", [(5, "a.jpg")], [(5, 1, bbox, {})])
            assert "not four numbers" in refused(DataError, file, NAMES)

    def test_odd_boxes_and_double_names(self, tmp_path):
        file = coco(
            tmp_path / "c.json",
            [(5, "a.jpg")],
            [(5, 1, (4, 4, -2, 1), {}), (5, 1, (4, 4, 0, 1), {})],
        )
        assert "(2)" in refused(DataError, file, NAMES)
        found = read_boxes(file, NAMES, skip_faulty=True)
        assert (found.reasons.get("faulty", 0), len(found.odd_boxes)) == (2, 2)
        file = coco(tmp_path / "c.json", [(5, "a.jpg"), (6, "a.jpg")], [])
        assert "several entries" in refused(DataError, file, NAMES)

    @pytest.mark.parametrize("key", ["images", "annotations", "categories"])
    def test_all_three_lists_are_there(self, tmp_path, key):
        content = {"images": [], "annotations": [], "categories": []}
        (tmp_path / "c.json").write_text(json.dumps({**content, key: {}}))
        assert f"has {key} that are no list" in refused(DataError, tmp_path / "c.json")
        del content[key]
        (tmp_path / "c.json").write_text(json.dumps(content))
        assert f"without '{key}'" in refused(DataError, tmp_path / "c.json")


class TestUnit:
    """Boxes in fractions of the image's sides: never taken for pixels, of which they would all be the first one."""

    def boxes(self, tmp_path, kind, *boxes, size=(20, 10)):
        """One file with these boxes, left, top, right and bottom, as the kind writes them."""
        if kind == "json":
            return boxes_json(tmp_path / "b.json", entry("a.jpg", boxes=boxes, size=size))
        if kind == "coco":
            sized = [(left, top, right - left, bottom - top) for left, top, right, bottom in boxes]
            return coco(tmp_path / "c.json", [(5, "a.jpg")], [(5, 2, box, {}) for box in sized])
        database = "ILSVRC_2012" if kind == "ilsvrc" else "The VOC2007 Database"
        return xml(
            tmp_path / "a.xml", *[("cat", box) for box in boxes], size=size, database=database
        )

    @pytest.mark.parametrize("kind", ["json", "coco", "voc", "ilsvrc"])
    @pytest.mark.parametrize(
        "boxes",
        [
            [(0.25, 0.5, 0.75, 1)],
            [(0.1, 0.1, 0.9, 0.9), (0, 0, 1, 1)],
            [(0, 0, 1, 1), (0, 0, 1, 1)],
            [(-0.01, 0.2, 1.004, 0.7)],
        ],
    )
    def test_a_file_of_fractions_is_refused_and_its_remedy_works(self, tmp_path, kind, boxes):
        file = self.boxes(tmp_path, kind, *boxes)
        assert "unit='fraction' (--box-unit fraction)" in refused(DataError, file, NAMES)
        with pytest.raises(DataError, match="between 0 and 1"):
            read_boxes(file, NAMES, skip_faulty=True)
        found = read_boxes(file, NAMES, unit="fraction").entries[0].boxes
        wanted = [
            (left * 20, top * 10, right * 20, bottom * 10) for left, top, right, bottom in boxes
        ]
        assert [box == pytest.approx(each) for box, each in zip(found, wanted, strict=True)] == [
            True
        ] * len(boxes)

    @pytest.mark.parametrize("kind", ["json", "coco", "ilsvrc"])
    def test_pixels_stay_pixels(self, tmp_path, kind):
        assert (
            len(read_boxes(self.boxes(tmp_path, kind, (0, 0, 1, 1)), NAMES).entries[0].boxes) == 1
        )
        assert (
            len(
                read_boxes(self.boxes(tmp_path, kind, (0, 0, 1, 1), (3, 3, 9, 9)), NAMES)
                .entries[0]
                .boxes
            )
            == 2
        )

    def test_an_image_of_one_pixel_has_a_box(self, tmp_path):
        file = self.boxes(tmp_path, "json", (0, 0, 1, 1), (0, 0, 1, 1), size=(1, 1))
        assert len(read_boxes(file, NAMES).entries[0].boxes) == 2

    def test_a_fraction_among_pixels_is_refused_or_left_out(self, tmp_path):
        file = self.boxes(tmp_path, "json", (0.25, 0.5, 0.75, 1), (3, 3, 9, 9))
        assert "(1): 'a.jpg': box 0.25, 0.5, 0.75, 1" in refused(DataError, file, NAMES)
        found = read_boxes(file, NAMES, skip_faulty=True)
        assert (len(found.entries[0].boxes), found.reasons.get("faulty", 0)) == (1, 1)

    def test_fractions_are_of_a_size_and_from_0_to_1(self, tmp_path):
        file = self.boxes(tmp_path, "json", (0.25, 0.5, 0.75, 1), size=None)
        with pytest.raises(DataError, match="fractions of a size, and none is told"):
            read_boxes(file, NAMES, unit="fraction")
        with pytest.raises(DataError, match="is not from 0 to 1"):
            read_boxes(self.boxes(tmp_path, "json", (0.25, 0.5, 7, 8)), NAMES, unit="fraction")
        with pytest.raises(OptionError, match="'pixel' or 'fraction'"):
            read_boxes(file, NAMES, unit="percent")


class TestBounds:
    """No file, however it is made, costs more than it should or raises what is not cofire's."""

    @pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "x\ud800", "/dev/null"])
    def test_names_that_are_no_files_are_told(self, tmp_path, name):
        with pytest.raises(DataError, match=r"embedded null|too long|encode|no boxes|No such file"):
            read_boxes(tmp_path / name)

    def test_files_have_a_largest_size(self, tmp_path, monkeypatch):
        file = boxes_json(tmp_path / "b.json", entry("a.jpg"))
        monkeypatch.setattr("cofire.images.boxes.MOST_LIST", 10)
        monkeypatch.setattr("cofire.images.voc.MOST_XML", 10)
        assert "more than 10 bytes" in refused(DataError, file)
        assert "more than 10 bytes" in refused(DataError, xml(tmp_path / "a.xml"))

    def test_elements_within_each_other_have_an_end(self, tmp_path):
        (tmp_path / "a.xml").write_text("<annotation>" + "<a>" * 60 + "</a>" * 60 + "</annotation>")
        assert "more than 50 elements within each other" in refused(DataError, tmp_path / "a.xml")

    @pytest.mark.parametrize("deep", [900, 90_000])
    def test_lists_within_each_other_are_refused(self, tmp_path, deep):
        file = tmp_path / "b.json"
        file.write_text(
            '[{"file": "a.png", "label": 0, "boxes": [' + "[" * deep + "]" * deep + "]}]"
        )
        refused(DataError, file)

    def test_a_key_that_is_there_twice_among_very_many_is_found_soon(self, tmp_path):
        keys = ", ".join(f'"k{number}": 0' for number in range(50_000))
        (tmp_path / "b.json").write_text(f'{{{keys}, "k7": 1}}')
        assert "'k7' twice" in refused(DataError, tmp_path / "b.json")

    def test_very_many_and_very_long_unknown_names_are_told_soon(self, tmp_path):
        entries = [entry(f"{number}.jpg", label="y" * 5000 + str(number)) for number in range(3000)]
        message = refused(
            LabelError,
            boxes_json(tmp_path / "b.json", *entries),
            [f"name {n}" for n in range(1000)],
        )
        assert "and 2,980 more" in message
        assert len(message) < 10_000

"""The check of a dataset on disk: every fault is one line, and nothing that is right is one."""

import re
import shutil
from pathlib import Path

import pytest
from drawn import COUNTS
from spoilt import cut, resize, set_value

from datasets import DATASETS, LABELS, check
from datasets.check import check_dataset

CELEB, IMAGES, MASKS = "celebamask_hq", "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
MAPPING, PARTITION = "CelebA-HQ-to-CelebA-mapping.txt", "list_eval_partition.txt"


def change_line(path, number, text):
    """Put a text, or nothing at all, in the place of a line."""
    lines = path.read_text().splitlines()
    lines[number : number + 1] = [] if text is None else [text]
    path.write_text("\n".join(lines) + "\n")


def remove(root, *files):
    for file in files:
        (root / file).unlink()


def mask(part, index=0):
    return f"{MASKS}/0/{index:05d}_{part}.png"


def change(root, *steps):
    for function, file, *args in steps:
        function(root / file, *args)


def in_all_splits(*pairs):
    return {split: list(pairs) for split in COUNTS}


# What is done to a dataset -> split -> what must be said: pairs of the file's end and what was found in it.
FAULTS = {
    "celeb two masks of one face cannot be read": (
        CELEB,
        lambda root: change(root, (cut, mask("skin")), (cut, mask("nose"))),
        {"train": [("00000_skin.png", "cannot be read"), ("00000_nose.png", "cannot be read")]},
    ),
    "celeb no mask of a face can be read": (
        CELEB,
        lambda root: [cut(path) for path in (root / MASKS / "0").glob("00000_*")],
        {"train": [(f"00000_{part}.png", "cannot be read") for part in (
            "skin", "l_brow", "r_brow", "l_eye", "r_eye", "nose", "mouth", "l_lip", "u_lip", "hair")]},
    ),
    "celeb an image and masks": (
        CELEB,
        lambda root: change(root, (cut, f"{IMAGES}/3.jpg"), (cut, mask("skin", 3)), (resize, mask("hair", 3), 20)),
        {"val": [("/3.jpg", "cannot be read"), ("00003_skin.png", "cannot be read"), ("00003_hair.png", "20 x 20")]},
    ),
    "celeb two masks of another size": (
        CELEB,
        lambda root: change(root, (resize, mask("skin"), 30), (resize, mask("hair"), 20)),
        {"train": [("00000_skin.png", "30 x 30"), ("00000_hair.png", "20 x 20")]},
    ),
    "celeb an image of another size": (
        CELEB,
        lambda root: resize(root / IMAGES / "0.jpg", 100),
        {"train": [("00000_skin.png", "a mask of 32 x 32")]},
    ),
    "celeb missing files and others": (
        CELEB,
        lambda root: (
            remove(root, f"{IMAGES}/0.jpg", f"{IMAGES}/1.jpg", f"{IMAGES}/5.jpg"),
            [path.unlink() for path in (root / MASKS / "0").glob("0000[16]_*")],
            change(root, (cut, mask("nose")), (cut, f"{IMAGES}/6.jpg")),
        ),
        {
            "train": [("/0.jpg", "no such file"), ("/1.jpg", "no such file"), ("/0", "no mask 00001_"),
                      ("00000_nose.png", "cannot be read")],
            "test": [("/5.jpg", "no such file"), ("/0", "no mask 00006_"), ("/6.jpg", "cannot be read")],
        },
    ),
    "celeb unknown parts": (
        CELEB,
        lambda root: [(root / mask(part)).rename(root / mask("beard" + part)) for part in ("skin", "nose")],
        in_all_splits(("beardskin.png", "part 'beardskin'"), ("beardnose.png", "part 'beardnose'")),
    ),
    "celeb lines": (
        CELEB,
        lambda root: change(
            root, (change_line, MAPPING, 1, "0 500"), (change_line, MAPPING, 2, "1 501 000777.jpg"),
            (change_line, PARTITION, 3, "000502.jpg 7"), (change_line, PARTITION, 4, "000503.jpg"),
        ),
        in_all_splits(
            (MAPPING, "line 2 is '0 500'"), (MAPPING, "line 3 names 000777.jpg"),
            (PARTITION, "line 4 is '000502.jpg 7'"), (PARTITION, "line 5 is '000503.jpg'"),
        ),
    ),
    "celeb an image without a line": (
        CELEB,
        lambda root: change(root, (change_line, MAPPING, 1, None)),
        in_all_splits((MAPPING, "no line for 1 of the images, such as 0.jpg")),
    ),
    "celeb no files of lines": (
        CELEB,
        lambda root: remove(root, MAPPING, PARTITION),
        in_all_splits((MAPPING, "no such file"), (PARTITION, "no such file")),
    ),
    "celeb no folders": (
        CELEB,
        lambda root: (shutil.rmtree(root / IMAGES), shutil.rmtree(root / MASKS)),
        in_all_splits((IMAGES, "no such folder"), (MASKS, "no such folder")),
    ),
    "celeb no folder of masks": (
        CELEB,
        lambda root: (shutil.rmtree(root / MASKS / "0"), cut(root / IMAGES / "4.jpg")),
        {split: [("/0", "no such folder"), *([("/4.jpg", "cannot be read")] if split == "val" else [])]
         for split in COUNTS},
    ),
    "celeb no dataset": (CELEB, shutil.rmtree, in_all_splits((CELEB, "no such folder"))),
    "lapa all files of one face": (
        "lapa",
        lambda root: change(
            root, (cut, "train/images/0_0.jpg"), (cut, "train/labels/0_0.png"), (cut, "train/landmarks/0_0.txt")
        ),
        {"train": [("0_0.jpg", "cannot be read"), ("0_0.png", "cannot be read"), ("0_0.txt", "points under '106'")]},
    ),
    "lapa landmarks and a label value": (
        "lapa",
        lambda root: change(root, (cut, "val/landmarks/1_0.txt"), (set_value, "val/labels/1_0.png", 11)),
        {"val": [("1_0.txt", "points under"), ("1_0.png", "label value 11")]},
    ),
    "lapa a label map of another size and with another value": (
        "lapa",
        lambda root: change(root, (set_value, "test/labels/1_0.png", 11), (resize, "test/labels/1_0.png", 60)),
        {"test": [("1_0.png", "60 x 60"), ("1_0.png", "label value 11")]},
    ),
    "lapa missing files and others": (
        "lapa",
        lambda root: (
            remove(root, "train/labels/0_0.png", "train/landmarks/0_0.txt", "train/images/2_0.jpg",
                   "val/images/0_0.jpg"),
            change(root, (cut, "train/images/0_0.jpg"), (set_value, "train/labels/2_0.png", 200)),
        ),
        {
            "train": [("0_0.png", "no such file"), ("0_0.txt", "no such file"), ("2_0.jpg", "no such file"),
                      ("0_0.jpg", "cannot be read"), ("2_0.png", "label value 200")],
            "val": [("0_0.jpg", "no such file")],
        },
    ),
    "lapa no split and no part of another": (
        "lapa",
        lambda root: (shutil.rmtree(root / "val"), shutil.rmtree(root / "test/labels"),
                      shutil.rmtree(root / "test/images"), cut(root / "train/images/2_0.jpg")),
        {
            "train": [("2_0.jpg", "cannot be read")], "val": [("val", "no such folder")],
            "test": [("labels", "no such folder"), ("images", "no such folder")],
        },
    ),
    "lapa nothing in a split": (
        "lapa",
        lambda root: [path.unlink() for path in (root / "val").glob("*/*")],
        {"val": [("lapa", "no image in split 'val'")]},
    ),
    "helen missing files and others": (
        "helen",
        lambda root: (
            remove(root, "train/train0_1_image.jpg", "train/train1_1_label.png"),
            change(root, (cut, "train/train0_1_label.png"), (cut, "train/train2_1_image.jpg"),
                   (set_value, "train/train2_1_label.png", 99)),
        ),
        {"train": [
            ("train0_1_image.jpg", "no such file"), ("train1_1_label.png", "no such file"),
            ("train0_1_label.png", "cannot be read"), ("train2_1_image.jpg", "cannot be read"),
            ("train2_1_label.png", "label value 99"),
        ]},
    ),
    "helen lines": (
        "helen",
        lambda root: (
            change(root, (change_line, "landmarks.txt", 4, None), (change_line, "landmarks.txt", 3, "1 2 test0_1")),
            change(root, (change_line, "landmarks.txt", 0, "x " * 136 + "train0_1"),
                   (change_line, "landmarks.txt", 1, "9999 " * 136 + "train1_1"),
                   (cut, "train/train0_1_label.png")),
        ),
        {
            "train": [("landmarks.txt", "line 1 is no list"), ("landmarks.txt", "landmarks of train1_1 lie outside"),
                      ("landmarks.txt", r"line 4 \(test0_1\) has 2 numbers"), ("train0_1_label.png", "cannot be read")],
            "test": [("landmarks.txt", "line 1 is no list"), ("landmarks.txt", r"line 4 \(test0_1\) has 2 numbers"),
                     ("landmarks.txt", "no line for test1_1")],
        },
    ),
    "helen no landmarks and no split": (
        "helen",
        lambda root: (remove(root, "landmarks.txt"), shutil.rmtree(root / "test")),
        {"train": [("landmarks.txt", "no such file")],
         "test": [("landmarks.txt", "no such file"), ("test", "no such folder")]},
    ),
    "helen landmarks that are no text": (
        "helen",
        lambda root: (root / "landmarks.txt").write_bytes(b"\xff\xfe\x00"),
        {split: [("landmarks.txt", "no text")] for split in ("train", "test")},
    ),
}  # fmt: skip


def says(line, file, found):
    return re.search(rf"^[^:]*{re.escape(file)}: found .*{found}.*; expected .*\. \w+", line)


def match(lines, expected):
    """Every line says one of the expected things, and the other way round."""
    assert len(lines) == len(expected), lines
    for file, found in expected:
        assert len([line for line in lines if says(line, file, found)]) == 1, (file, found, lines)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_one_line(fault, copy):
    name, spoil, expected = FAULTS[fault]
    root = copy(name)
    spoil(root)
    report = check_dataset(name, root)
    for split in report.problems:
        match(report.problems[split], expected.get(split, []))
    match(report.lines(), list(dict.fromkeys(pair for pairs in expected.values() for pair in pairs)))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", LABELS)
def test_workers_find_the_same_in_the_same_order(name, workers, copy, capfd):
    root = copy(name)
    assert check_dataset(name, root, workers).lines() == []
    for path in root.rglob("*.jpg"):
        cut(path)
    here, there = check_dataset(name, root), check_dataset(name, root, workers)
    assert here == there
    assert len(here.lines()) == sum(here.images.values())
    assert "Traceback" not in capfd.readouterr().err


def test_a_file_that_goes_while_it_is_checked_is_one_line(roots, copy, monkeypatch):
    root = copy("lapa")
    read = DATASETS["lapa"].read

    def remove_and_read(dataset, sample):
        if sample.name == "val.0_0":
            sample.labels[0].unlink()
        return read(dataset, sample)

    monkeypatch.setattr(DATASETS["lapa"], "read", remove_and_read)
    match(check_dataset("lapa", root).lines(), [("0_0.png", "no such file")])


def test_the_test_split_of_helen_is_read_once(roots, monkeypatch):
    read, names = DATASETS["helen"].read, []
    monkeypatch.setattr(DATASETS["helen"], "read", lambda self, sample: (names.append(sample.name), read(self, sample)))
    report = check_dataset("helen", roots["helen"])
    assert sorted(names) == ["test0_1", "test1_1", "train0_1", "train1_1", "train2_1"]
    assert report.images == {"train": 3, "test": 2}


def test_a_folder_that_may_not_be_listed_is_one_line(roots, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied", "/data/LaPa/train/images")

    monkeypatch.setattr(Path, "iterdir", refuse)
    report = check_dataset("lapa", roots["lapa"])
    assert report.images == dict.fromkeys(COUNTS)
    assert report.lines() == ["[Errno 13] Permission denied: '/data/LaPa/train/images'"]


def test_table_tells_images_problems_and_where_sizes_are_not_the_published(roots, monkeypatch):
    report = check.Report("helen", {"train": 2000, "test": None}, {"train": ["a", "b"], "test": ["a"]})
    rows = [line.split(maxsplit=4) for line in report.table().splitlines()]
    assert rows == [
        ["Helen", "images", "published", "problems"],
        ["train", "2,000", "2,000", "2"],
        ["val", "as", "test"],
        ["test", "no", "330", "1"],
    ]
    assert report.lines() == ["a", "b"]
    rows = check_dataset("lapa", roots["lapa"]).table().splitlines()
    assert rows[2].split(maxsplit=4) == ["val", "2", "2,000", "0", "not the published number of images"]

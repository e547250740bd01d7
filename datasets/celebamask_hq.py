"""CelebAMask-HQ on disk (Lee et al., CVPR 2020): one PNG mask for each part that a face has."""

from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.base import (
    DataError,
    FaceParsingDataset,
    Sample,
    data_error,
    read_lines,
    read_picture,
    read_rgb,
)
from datasets.cache import fetch
from datasets.labels import LABELS
from datasets.transforms import Face

IMAGES, MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
MAPPING, PARTITION = "CelebA-HQ-to-CelebA-mapping.txt", "list_eval_partition.txt"
IMAGES_PER_FOLDER = 2000
SPLIT_CODES = {"train": "0", "val": "1", "test": "2"}


class CelebAMaskHQ(FaceParsingDataset):
    """CelebAMask-HQ: 19 classes, no augmentation, no landmarks (zeros).

    The parts are painted in the order of the labels, later over earlier. ``l_`` and ``r_`` are the person's own left
    and right, so ``l_eye`` is on the right of the image.
    """

    labels = LABELS["celebamask_hq"]

    def find_samples(self) -> list[Sample]:
        title = self.labels.title
        if not self.has_all(
            files={
                self.root / PARTITION: "the partition of CelebA",
                self.root / MAPPING: f"the mapping of {title} to CelebA",
            },
            folders={self.root / IMAGES: f"the images of {title}", self.root / MASKS: f"the masks of {title}"},
        ):
            return []
        indices = self.indices_of_split()
        images = {path.name for path in (self.root / IMAGES).iterdir()}
        masks = self.masks_on_disk({index // IMAGES_PER_FOLDER for index in indices})
        unmapped = {name for name in images if name.endswith(".jpg")} - {f"{index}.jpg" for index in self.mapped}
        if unmapped:
            found = f"no line for {len(unmapped)} of the images, such as {min(unmapped)}"
            self.complain(data_error(self.root / MAPPING, found, f"one for every image of {IMAGES}", self.remedy))
        samples = []
        for index in indices:
            image = self.root / IMAGES / f"{index}.jpg"
            if image.name not in images:
                self.complain(data_error(image, "no such file", f"an image that {MAPPING} lists", self.remedy))
            folder = self.root / MASKS / str(index // IMAGES_PER_FOLDER)
            if index not in masks and folder.is_dir():
                found, expected = f"no mask {index:05d}_*.png", "a mask for each part of the face"
                self.complain(data_error(folder, found, expected, self.remedy))
            parts = masks.get(index, {})
            paths = tuple(parts[part] for part in self.labels.names if part in parts)
            samples.append(Sample(str(index), image, paths, whole=image.name in images and bool(paths)))
        return samples

    def indices_of_split(self) -> list[int]:
        """HQ indices of the split, in the order of the partition file, which also lists images that HQ has not."""
        partition = {}
        for number, words in enumerate(read_lines(self.root / PARTITION, "the partition of CelebA"), start=1):
            if len(words) != 2 or words[1] not in SPLIT_CODES.values():
                found = f"line {number} is {' '.join(words)!r}"
                self.complain(data_error(self.root / PARTITION, found, "'FILE.jpg 0', 1 or 2", self.remedy))
            partition[words[0]] = words[-1]
        indices = {}
        self.mapped = set()
        for number, words in enumerate(read_lines(self.root / MAPPING, "the mapping of HQ to CelebA")[1:], start=2):
            if words[0].isdecimal():
                self.mapped.add(int(words[0]))
            if len(words) != 3 or not words[0].isdecimal():
                found = f"line {number} is {' '.join(words)!r}"
                self.complain(data_error(self.root / MAPPING, found, "'idx orig_idx orig_file'", self.remedy))
            elif words[2] not in partition:
                found = f"line {number} names {words[2]}, which {PARTITION} does not list"
                self.complain(data_error(self.root / MAPPING, found, "a file of CelebA", self.remedy))
            else:
                indices[words[2]] = int(words[0])
        code = SPLIT_CODES[self.split]
        return [indices[file] for file, split in partition.items() if split == code and file in indices]

    def masks_on_disk(self, folders: set[int]) -> dict[int, dict[str, Path]]:
        """Masks by image index and part, from one listing of each folder."""
        masks = defaultdict(dict)
        for folder in sorted(folders):
            path = self.root / MASKS / str(folder)
            if not self.has_all(folders={path: f"the masks of images {folder * IMAGES_PER_FOLDER} and on"}):
                continue
            for mask in path.iterdir():
                index, _, part = mask.stem.partition("_")
                if index.isdecimal() and mask.suffix == ".png":
                    if part in self.labels.names[1:]:
                        masks[int(index)][part] = mask
                    else:
                        expected = f"one of {', '.join(self.labels.names[1:])}"
                        self.complain(data_error(mask, f"part {part!r}", expected, self.remedy))
        return masks

    def read(self, sample: Sample) -> Face:
        entry = self.entry(self.kept_labels, sample)
        image = read_rgb(sample.image)
        label = fetch(entry, partial(self.read_label, sample, image.size))
        return Face(image, label, self.read_landmarks(sample))

    def read_landmarks(self, sample: Sample) -> np.ndarray:
        return np.zeros((5, 2))

    def read_label(self, sample: Sample, size: tuple[int, int] | None) -> Image.Image:
        """Paint the masks of the parts, in the order of the labels, into one label map.

        1024 images have masks of 512; copies of the dataset at one size have masks of that size.
        """
        sizes = (size, (size[0] // 2, size[1] // 2)) if size else None
        expected = f"its image's {size[0]} x {size[1]}, or half of that" if size else ""
        label, errors = None, []
        for path in sample.labels:
            try:
                mask = read_picture(path)
            except DataError as error:
                self.complain(error)
                errors.append(error)
                continue
            if sizes and mask.size not in sizes:
                found = f"a mask of {mask.width} x {mask.height}"
                errors.append(data_error(path, found, expected, self.remedy))
                continue
            if label is None:
                label = np.zeros(mask.size[::-1], np.uint8)
                sizes, expected = (mask.size,), f"{mask.width} x {mask.height} as {path.name}"
            pixels = np.asarray(mask)
            part = path.stem.partition("_")[2]
            label[(pixels if pixels.ndim == 2 else pixels[..., 0]) > 0] = self.labels.names.index(part)
        if label is None:  # no mask fits, so it may be the image that is wrong: one message
            raise errors[0]
        for error in errors:
            self.complain(error)
        return Image.fromarray(label)

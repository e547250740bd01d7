"""CelebAMask-HQ on disk (Lee et al., CVPR 2020): one PNG mask for each part that a face has."""

from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.base import FaceParsingDataset, Sample, data_error, read_lines, read_picture, read_rgb, require_folder
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
        indices = self.indices_of_split()
        require_folder(self.root / IMAGES, f"the images of {self.labels.title}")
        images = {path.name for path in (self.root / IMAGES).iterdir()}
        masks = self.masks_on_disk({index // IMAGES_PER_FOLDER for index in indices})
        unmapped = {name for name in images if name.endswith(".jpg")} - {f"{index}.jpg" for index in self.mapped}
        if unmapped:
            found = f"no line for {len(unmapped)} of the images, such as {min(unmapped)}"
            raise data_error(self.root / MAPPING, found, f"one for every image of {IMAGES}", self.remedy)
        samples = []
        for index in indices:
            image = self.root / IMAGES / f"{index}.jpg"
            if image.name not in images:
                raise data_error(image, "no such file", f"an image that {MAPPING} lists", self.remedy)
            if index not in masks:
                folder = self.root / MASKS / str(index // IMAGES_PER_FOLDER)
                raise data_error(folder, f"no mask {index:05d}_*.png", "a mask for each part of the face", self.remedy)
            parts = tuple(masks[index][part] for part in self.labels.names if part in masks[index])
            samples.append(Sample(str(index), image, parts))
        return samples

    def indices_of_split(self) -> list[int]:
        """HQ indices of the split, in the order of the partition file, which also lists images that HQ has not."""
        partition = {}
        for number, words in enumerate(read_lines(self.root / PARTITION, "the partition of CelebA"), start=1):
            if len(words) != 2 or words[1] not in SPLIT_CODES.values():
                found = f"line {number} is {' '.join(words)!r}"
                raise data_error(self.root / PARTITION, found, "'FILE.jpg 0', 1 or 2", self.remedy)
            partition[words[0]] = words[1]
        indices = {}
        for number, words in enumerate(read_lines(self.root / MAPPING, "the mapping of HQ to CelebA")[1:], start=2):
            if len(words) != 3 or not words[0].isdigit():
                found = f"line {number} is {' '.join(words)!r}"
                raise data_error(self.root / MAPPING, found, "'idx orig_idx orig_file'", self.remedy)
            if words[2] not in partition:
                found = f"line {number} names {words[2]}, which {PARTITION} does not list"
                raise data_error(self.root / MAPPING, found, "a file of CelebA", self.remedy)
            indices[words[2]] = int(words[0])
        self.mapped = set(indices.values())
        code = SPLIT_CODES[self.split]
        return [indices[file] for file, split in partition.items() if split == code and file in indices]

    def masks_on_disk(self, folders: set[int]) -> dict[int, dict[str, Path]]:
        """Masks by image index and part, from one listing of each folder."""
        masks = defaultdict(dict)
        for folder in sorted(folders):
            path = self.root / MASKS / str(folder)
            require_folder(path, f"the masks of images {folder * IMAGES_PER_FOLDER} and on")
            for mask in path.iterdir():
                index, _, part = mask.stem.partition("_")
                if index.isdigit() and mask.suffix == ".png":
                    if part not in self.labels.names[1:]:
                        raise data_error(
                            mask, f"part {part!r}", f"one of {', '.join(self.labels.names[1:])}", self.remedy
                        )
                    masks[int(index)][part] = mask
        return masks

    def read(self, sample: Sample) -> Face:
        image = read_rgb(sample.image)
        return Face(image, self.compose(sample.labels, image.size), np.zeros((5, 2)))

    def compose(self, masks: tuple[Path, ...], image_size: tuple[int, int]) -> Image.Image:
        """Paint the masks of the parts, in the order of the labels, into one label map."""
        label, first = None, masks[0]
        for path in masks:
            mask = read_picture(path)
            pixels = np.asarray(mask)
            if label is None:
                # 1024 images have masks of 512; copies of the dataset at one size have masks of that size.
                width, height = image_size
                if mask.size not in ((width, height), (width // 2, height // 2)):
                    expected = f"its image's {width} x {height}, or half of that"
                    raise data_error(path, f"a mask of {mask.width} x {mask.height}", expected, self.remedy)
                label, size = np.zeros(pixels.shape[:2], np.uint8), mask.size
            if mask.size != size:
                expected = f"{size[0]} x {size[1]} as {first.name}"
                raise data_error(path, f"a mask of {mask.width} x {mask.height}", expected, self.remedy)
            part = path.stem.partition("_")[2]
            label[(pixels if pixels.ndim == 2 else pixels[..., 0]) > 0] = self.labels.names.index(part)
        return Image.fromarray(label)

"""Any picture as RGB, and damaged ones as errors."""

import numpy as np
import pytest
from PIL import Image

from datasets import DataError
from utils.inference.pictures import as_rgb, read_picture, squash, to_rgb

RGB = np.zeros((4, 6, 3), np.uint8)
RGB[:2, :3], RGB[2:, 3:] = (200, 40, 90), (10, 250, 120)
GREY = np.asarray(Image.fromarray(RGB).convert("L"))
AS_GREY = np.repeat(GREY[..., None], 3, 2)


def saved(tmp_path, picture, name="a.png", **options):
    picture.save(tmp_path / name, **options)
    return read_picture(tmp_path / name)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp", "gif"])
def test_formats(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    found = saved(tmp_path, Image.fromarray(RGB), f"a.{suffix}", **options)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, RGB)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_heeded(tmp_path, orientation):
    # How a camera stores an upright picture under each orientation: the inverse of what a viewer must do.
    stored = {
        1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.swapaxes(0, 1), 6: np.rot90(RGB),
        7: RGB[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(RGB, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(saved(tmp_path, Image.fromarray(stored.copy()), exif=exif), RGB)


def test_grey_palette_and_one_bit(tmp_path):
    np.testing.assert_array_equal(saved(tmp_path, Image.fromarray(GREY)), AS_GREY)
    np.testing.assert_array_equal(saved(tmp_path, Image.fromarray(RGB).quantize(4)), RGB)
    bits = np.array([[True, False], [False, True]])
    assert saved(tmp_path, Image.fromarray(bits))[..., 0].tolist() == [[255, 0], [0, 255]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_laid_on_white(tmp_path, mode):
    picture = Image.fromarray(RGB if mode != "LA" else GREY)
    alpha = np.full((4, 6), 255, np.uint8)
    alpha[0, 0] = 0
    if mode == "P":
        picture = Image.fromarray(RGB).quantize(4)
        index = picture.getpixel((0, 0))
        found = saved(tmp_path, picture, transparency=index)
        gone = np.asarray(picture) == index
    else:
        picture.putalpha(Image.fromarray(alpha))
        assert picture.mode == mode
        found, gone = saved(tmp_path, picture), alpha == 0
    assert (found[gone] == 255).all()
    np.testing.assert_array_equal(found[~gone], (AS_GREY if mode == "LA" else RGB)[~gone])


def test_half_transparent_is_half_white():
    picture = Image.new("RGBA", (1, 1), (100, 100, 100, 128))
    assert abs(int(to_rgb(picture)[0, 0, 0]) - 178) <= 1


def test_cmyk_jpeg(tmp_path):
    picture = Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK")
    found = saved(tmp_path, picture, "a.jpg", quality=100)
    assert np.abs(found.astype(int) - (200, 40, 90)).max() <= 4


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bits_are_scaled_and_not_cut_off(tmp_path, suffix):
    values = np.array([[0, 257, 32896], [65535, 300, 65278]], np.uint16)
    found = saved(tmp_path, Image.fromarray(values), f"a.{suffix}")
    assert found[..., 0].tolist() == [[0, 1, 128], [255, 1, 254]]
    assert (found == found[..., :1]).all()


def test_of_an_animation_the_first_picture(tmp_path):
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_picture(tmp_path / "a.gif") == (255, 0, 0)).all()


def test_smallest_and_flattest_pictures():
    one = np.uint8([[[1, 2, 3]]])
    np.testing.assert_array_equal(to_rgb(Image.fromarray(one)), one)
    assert (squash(one, 32) == (1, 2, 3)).all()
    assert squash(np.zeros((3, 900, 3), np.uint8), 64).shape == (64, 64, 3)


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("no picture")


def a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [half, empty, text, a_folder])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "gif", "webp"])
def test_damaged_files_are_named(tmp_path, spoil, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    spoil(path)
    with pytest.raises(DataError, match=str(path)):
        read_picture(path)


def test_missing_file_and_too_many_pixels(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no such file"):
        read_picture(tmp_path / "none.png")
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # twice as many are an error
    with pytest.raises(DataError, match="exceeds limit"):
        read_picture(tmp_path / "a.png")


def test_what_has_no_known_range_is_refused():
    with pytest.raises(ValueError, match="floating-point"):
        to_rgb(Image.new("F", (2, 2)))
    with pytest.raises(ValueError, match="32-bit"):
        to_rgb(Image.fromarray(np.full((2, 2), 200, np.int32)))


def test_32_bit_grey_is_not_taken_for_16(tmp_path):
    """It was, and a picture of values up to 255 became black."""
    Image.fromarray(np.full((2, 2), 200, np.int32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match="32-bit"):
        read_picture(tmp_path / "a.tiff")
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n" + bytes([255, 255, 128, 128]))
    assert read_picture(tmp_path / "a.pgm")[0, :, 0].tolist() == [255, 128]


@pytest.mark.parametrize("array", [RGB.astype(float), RGB[..., 0], np.zeros((2, 2, 4), np.uint8), RGB[:0], [1, 2]])
def test_arrays_of_another_kind_are_refused(array):
    with pytest.raises(ValueError, match="expected"):
        as_rgb(array)

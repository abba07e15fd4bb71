#!/usr/bin/env python3
"""Writes the files beside it: small ones of NumPy, Pillow and Python's csv module, and what
Pillow reads from them.

Needs NumPy and Pillow (any recent version):
    python3 -m venv venv && venv/bin/pip install numpy pillow
"""

import csv
import pathlib

import numpy
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent


def picture(height, width):
    """Something smooth, with edges."""
    y, x = numpy.mgrid[0:height, 0:width]
    waves = [128 + 120 * numpy.sin(x / 3 + k) * numpy.cos(y / (2 + k)) for k in range(3)]
    image = numpy.stack(waves, -1).astype(numpy.uint8)
    image[height // 3:height // 2, width // 4:width // 2] = (250, 10, 60)
    return image


def pictures():
    colours = picture(13, 17)
    alpha = (picture(13, 17)[..., :1] // 2 + 100).astype(numpy.uint8)
    image = Image.fromarray(colours)
    image.save(HERE / "colours.png")
    image.convert("L").save(HERE / "grey.png")
    image.convert("P", palette=Image.Palette.ADAPTIVE, colors=12).save(HERE / "palette.png")
    image.convert("1").save(HERE / "bits.png")
    Image.fromarray(numpy.concatenate([colours, alpha], -1), "RGBA").save(HERE / "alpha.png")
    image.save(HERE / "colours.jpg", quality=85)
    image.save(HERE / "progressive.jpg", quality=85, progressive=True)
    image.save(HERE / "fine.jpg", quality=95, subsampling=0)
    image.convert("L").save(HERE / "grey.jpg", quality=85)
    image.convert("CMYK").save(HERE / "printed.jpg", quality=85)
    read = {}
    for file in sorted(HERE.glob("*.[pj][np]g")):
        if file.name not in ("printed.jpg", "pixel.png"):
            # What of transparency is below it stays.
            read[file.name] = numpy.asarray(Image.open(file).convert("RGB"))
            grey = Image.open(file).convert("RGB").convert("L")
            read[file.name + "/grey"] = numpy.asarray(grey)
    for height, width in ((13, 17), (5, 7), (20, 30), (1, 1), (13, 4), (40, 17)):
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        read[f"resized/{height}/{width}"] = numpy.asarray(resized)
    numpy.savez_compressed(HERE / "images.npz", **read)


def arrays():
    Image.new("RGB", (1, 1), (1, 2, 3)).save(HERE / "pixel.png")
    numpy.save(HERE / "fortran.npy", numpy.asfortranarray(numpy.arange(6.).reshape(2, 3)))
    numpy.save(HERE / "big_endian.npy", numpy.arange(3).astype(">i4"))


def table():
    rows = [["height", "count", "kind", "note, with a comma"],
            ["1.5", "3", "oak", 'said "yes"'],
            ["-2e3", "4", "beech", "two\nlines"],
            ["7", "-5", "oak", ""]]
    with open(HERE / "table.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    pictures()
    arrays()
    table()

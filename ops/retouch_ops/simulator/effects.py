"""
The effects of a prompt on a picture. A prompt that names no effect leads to a mild tint, whose colour depends on the
prompt.

The same picture, prompt and numbers always lead to the same result. Only Pillow is used. Its slow calls release the
GIL.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

Picture = Image.Image
Colour = tuple[int, int, int]
Effect = Callable[[Picture], Picture]


@dataclass(frozen=True)
class Plan:
    """
    The `effects` to apply, in this order, with their `strength` (0 to 1). If there is no effect, `tint` is applied.
    """

    effects: tuple[str, ...]
    strength: float
    tint: Colour

    @classmethod
    def of(cls, prompt: str, image_guidance_scale: float, steps: int, guidance_scale: float) -> Plan:
        """Return the plan for a prompt and the three numbers of an edit."""
        words = prompt.lower()
        named = tuple(name for name, (pattern, _) in EFFECTS.items() if pattern.search(words))
        # Four levels per channel: with more, each prompt would lead to another edit, and no cache could hold them.
        red, green, blue = (byte & 0xC0 | 0x20 for byte in hashlib.sha256(words.encode()).digest()[:3])
        tint = (0, 0, 0) if named else (red, green, blue)
        return cls(named, strength_of(image_guidance_scale, steps, guidance_scale), tint)


def strength_of(image_guidance_scale: float, steps: int, guidance_scale: float) -> float:
    """
    Return the strength of an edit, from 0.05 to 1.

    It grows with guidance_scale and steps, and falls with image_guidance_scale.
    """
    pull = 0.35 + 0.65 * math.sqrt(min(max((guidance_scale - 1) / 19, 0.0), 1.0))
    loyalty = 1.25 / (1 + 0.25 * max(image_guidance_scale, 0.0))
    effort = 0.4 + 0.6 * min(max(steps, 1), 50) / 50
    return round(min(max(pull * loyalty * effort, 0.05), 1.0), 3)


def apply(plan: Plan, picture: Picture) -> Picture:
    """Return an edited copy of an RGB picture, of the same size."""
    # Mirrored before blending: half of a mirror image over the picture would look like a double exposure.
    picture = ImageOps.mirror(picture) if "mirror" in plan.effects else picture
    edited = picture
    for name in plan.effects:
        edited = EFFECTS[name][1](edited)
    if not plan.effects:
        edited = _tinted(picture, plan.tint, 0.5)
    return Image.blend(picture, edited, plan.strength)


def _tinted(picture: Picture, colour: Colour, share: float) -> Picture:
    toned = ImageOps.colorize(ImageOps.grayscale(picture), (0, 0, 0), (255, 255, 255), mid=colour)
    return Image.blend(picture, toned, share)


def _scaled(picture: Picture, red: float, green: float, blue: float) -> Picture:
    factors = (red, green, blue)
    table = [min(255, round(level * factor)) for factor in factors for level in range(256)]
    return picture.point(table)


def _sepia(picture: Picture) -> Picture:
    return ImageOps.colorize(ImageOps.grayscale(picture), (40, 22, 8), (255, 240, 205), mid=(150, 110, 70))


def _black_and_white(picture: Picture) -> Picture:
    return ImageOps.autocontrast(ImageOps.grayscale(picture), cutoff=1).convert("RGB")


def _dreamy(picture: Picture) -> Picture:
    return ImageChops.screen(picture, picture.filter(ImageFilter.GaussianBlur(_share(picture, 0.015))))


def _blurred(picture: Picture) -> Picture:
    return picture.filter(ImageFilter.GaussianBlur(_share(picture, 0.012)))


def _sharp(picture: Picture) -> Picture:
    return picture.filter(ImageFilter.UnsharpMask(radius=2, percent=250, threshold=2))


def _pixels(picture: Picture) -> Picture:
    small = picture.resize((max(1, picture.width // 10), max(1, picture.height // 10)), Image.Resampling.BOX)
    return small.quantize(32).convert("RGB").resize(picture.size, Image.Resampling.NEAREST)


def _cartoon(picture: Picture) -> Picture:
    flat = ImageOps.posterize(picture.filter(ImageFilter.ModeFilter(5)), 3)
    lines = ImageOps.grayscale(picture).filter(ImageFilter.FIND_EDGES).point([255] * 60 + [0] * 196)
    return ImageChops.multiply(flat, lines.convert("RGB"))


def _winter(picture: Picture) -> Picture:
    return ImageEnhance.Brightness(_scaled(ImageEnhance.Color(picture).enhance(0.5), 0.85, 1.0, 1.35)).enhance(1.15)


def _sunset(picture: Picture) -> Picture:
    return _scaled(ImageEnhance.Color(picture).enhance(1.4), 1.3, 0.95, 0.6)


def _night(picture: Picture) -> Picture:
    return _scaled(ImageEnhance.Color(picture).enhance(0.6), 0.25, 0.32, 0.6)


def _sketch(picture: Picture) -> Picture:
    grey = ImageOps.grayscale(picture)
    negative = ImageOps.invert(grey).filter(ImageFilter.GaussianBlur(_share(picture, 0.01)))
    return ImageOps.autocontrast(ImageChops.add(grey, negative, 1, 0).point(_steep())).convert("RGB")


def _negative(picture: Picture) -> Picture:
    return ImageOps.invert(picture)


def _oil(picture: Picture) -> Picture:
    return ImageEnhance.Color(picture.filter(ImageFilter.ModeFilter(7))).enhance(1.5)


def _unchanged(picture: Picture) -> Picture:
    return picture


def _vivid(picture: Picture) -> Picture:
    return ImageEnhance.Contrast(ImageEnhance.Color(picture).enhance(2.0)).enhance(1.25)


def _share(picture: Picture, share: float) -> float:
    return max(1.0, share * max(picture.size))


def _words(*words: str) -> re.Pattern[str]:
    return re.compile(rf"\b({'|'.join(words)})")


def _steep() -> list[int]:
    return [max(0, min(255, round((level - 150) * 2.43))) for level in range(256)]


EFFECTS: dict[str, tuple[re.Pattern[str], Effect]] = {
    "sepia": (_words("sepia", "vintage", "old photo", "antique"), _sepia),
    "black and white": (_words("black and white", "monochrome", "grayscale", "noir"), _black_and_white),
    "dreamy": (_words("dreamy", "glow", "soft light", "fairy"), _dreamy),
    "blur": (_words("blur", "out of focus", "foggy"), _blurred),
    "sharpen": (_words("sharp", "crisp", "high detail"), _sharp),
    "pixel art": (_words("pixel", "8-bit", "8 bit", "minecraft"), _pixels),
    "cartoon": (_words("cartoon", "comic", "poster", "anime"), _cartoon),
    "winter": (_words("winter", "snow", "cold", "icy", "frozen"), _winter),
    "sunset": (_words("sunset", "warm", "summer", "golden", "autumn"), _sunset),
    "night": (_words("night", "dark", "moonlight"), _night),
    "sketch": (_words("sketch", "pencil", "drawing"), _sketch),
    "negative": (_words("negative", "invert"), _negative),
    "oil painting": (_words("oil", "painting", "van gogh", "impressionis"), _oil),
    "mirror": (_words("mirror", "flip"), _unchanged),
    "vivid": (_words("vivid", "colourful", "colorful", "neon"), _vivid),
}

"""
Two functions that edit a picture: one uses InstructPix2Pix (`diffusers`), the other uses Pillow and needs no GPU.

`edit` is the first function if diffusers and torch are installed, else the second. The server calls `edit` for at most
one picture per GPU at the same time.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from PIL import Image, ImageEnhance, ImageOps

MODEL = "timbrooks/instruct-pix2pix"
SIDE_MOST = 768


def pillow_edit(
    image: Image.Image, prompt: str, steps: int, guidance_scale: float, image_guidance_scale: float
) -> Image.Image:
    """
    Return a poster of the picture. A higher `guidance_scale` makes the effect stronger, and a higher
    `image_guidance_scale` makes the effect weaker.
    """
    strength = min(1.0, guidance_scale / 20 + steps / 100) / max(1.0, image_guidance_scale / 2)
    poster = ImageOps.posterize(ImageEnhance.Color(image).enhance(1.8), 3)
    return Image.blend(image, ImageOps.mirror(poster) if "mirror" in prompt.lower() else poster, strength)


@cache
def _pipeline() -> Any:
    """Return the model. The first call loads it, from the local cache or else from the network."""
    torch, diffusers = import_module("torch"), import_module("diffusers")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = torch.float16 if device == "cuda" else torch.float32
    pipeline = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(MODEL, torch_dtype=precision)
    pipeline.scheduler = diffusers.EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
    return pipeline.to(device)


def diffusers_edit(
    image: Image.Image, prompt: str, steps: int, guidance_scale: float, image_guidance_scale: float
) -> Image.Image:
    """Return the picture edited by InstructPix2Pix, at most 768 pixels a side."""
    image.thumbnail((SIDE_MOST, SIDE_MOST))
    image = image.crop((0, 0, max(8, image.width // 8 * 8), max(8, image.height // 8 * 8)))
    made = _pipeline()(
        prompt,
        image=image,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        image_guidance_scale=image_guidance_scale,
    )
    edited: Image.Image = made.images[0]
    return edited


edit = diffusers_edit if find_spec("diffusers") and find_spec("torch") else pillow_edit

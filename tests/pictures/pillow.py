"""What Pillow and transformers make of a file."""

import io
import warnings

from PIL import Image, ImageOps

warnings.simplefilter("ignore")


def convert_to_rgb(image):
    """transformers.models.idefics.image_processing_idefics.convert_to_rgb, without the import of torch."""
    if image.mode == "RGB":
        return image
    image_rgba = image.convert("RGBA")
    background = Image.new("RGBA", image_rgba.size, (255, 255, 255))
    return Image.alpha_composite(background, image_rgba).convert("RGB")


def answer(data, convert):
    """The RGB picture, or None where Pillow refuses the file."""
    try:
        image = convert(Image.open(io.BytesIO(data)))
        image.load()
        return image
    except Exception:  # of any type: each plugin has its own
        return None


def answers(data):
    """As a file or PIL image, and as from a URL."""
    return answer(data, convert_to_rgb), answer(data, lambda image: ImageOps.exif_transpose(image).convert("RGB"))

"""/v1/images/generations, /v1/images/edits, /v1/segment, /v1/reconstruct."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from ..errors import InputError
from ..requests import whole
from ..results import Images, Segmentation
from .attend import attended
from .pictures import encoded, uploaded
from .service import Service, service
from .streaming import streamed

routes = APIRouter()
Form = TypeVar("Form", bound=BaseModel)


class Output(BaseModel):
    """How pictures come back. Fields that are not named here are refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())
    model: str | None = None
    response_format: Literal["b64_json"] = "b64_json"
    output_format: Literal["png", "jpeg", "webp"] = "png"


class Sampled(Output):
    """How pictures are drawn; `Engine.generate` says what each option does."""

    seed: int | None = None
    num_inference_steps: int = 20
    guidance_scale: float | None = None  # the checkpoint's own
    stream: bool = False
    partial_images: int = 0  # previews that are streamed while a picture is drawn

    def sampling(self, held: Service) -> dict[str, Any]:
        whole("partial_images", self.partial_images, 0, held.settings.max_steps)
        if self.partial_images and not self.stream:
            raise InputError("partial_images has no effect without stream=true; leave it out")
        held.limit("num_inference_steps", self.num_inference_steps, held.settings.max_steps)
        return {"seed": self.seed, "num_inference_steps": self.num_inference_steps,
                "guidance_scale": self.guidance_scale}  # fmt: skip


class Prompted(Sampled):
    """A text that makes pictures."""

    prompt: str
    n: int = 1
    size: str = "auto"
    negative_prompt: str | None = None

    def options(self, held: Service) -> dict[str, Any]:
        """Options of `generate` and `edit`."""
        held.limit("n", self.n, held.settings.max_images)
        if self.stream and self.n > 1:
            raise InputError(f"n={self.n} pictures cannot be streamed; ask for one")
        return self.sampling(held) | {"num_images": self.n, "negative_prompt": self.negative_prompt} | self.shape(held)

    def shape(self, held: Service) -> dict[str, Any]:
        """OpenAI writes WIDTHxHEIGHT."""
        small, large = held.sides
        if self.size in ("auto", f"{small}x{small}"):
            return {}
        sides = re.fullmatch(r"(\d{1,5})x(\d{1,5})", self.size)
        if sides is None:
            cell = held.engine.config.decoder.upscale
            raise InputError(f"size={self.size!r} is not drawn by this model; use auto, {small}x{small}, or "
                             f"WIDTHxHEIGHT in multiples of {cell} such as {large}x{large}")  # fmt: skip
        return {"size": (int(sides[2]), int(sides[1]))}


class Painted(Sampled):
    instruction: str | None = None
    seed: int | None = 0


class Again(Output):
    size: int | None = None
    padded: bool = False


@routes.post("/v1/images/generations", response_model=None)
async def generations(request: Request, body: Prompted) -> dict[str, Any] | Response:
    held = service(request, body.model)
    draw = partial(held.engine.agenerate, body.prompt, **body.options(held), **held.terms())
    return await _drawn(request, "image_generation", body, draw, _images)


@routes.post("/v1/images/edits", response_model=None)
async def edits(request: Request) -> dict[str, Any] | Response:
    form, image, held = await _form(request, Prompted)
    draw = partial(held.engine.aedit, image, form.prompt, **form.options(held), **held.terms())
    return await _drawn(request, "image_edit", form, draw, _images)


@routes.post("/v1/reconstruct")
async def reconstruct(request: Request) -> dict[str, Any]:
    form, image, held = await _form(request, Again)
    work = held.engine.areconstruct(image, size=form.size, padded=form.padded, **held.terms())
    return await attended(request, _images(work, form))


@routes.post("/v1/segment", response_model=None)
async def segment(request: Request) -> dict[str, Any] | Response:
    form, image, held = await _form(request, Painted)
    draw = partial(held.engine.asegment, image, form.instruction, **form.sampling(held), **held.terms())
    return await _drawn(request, "image_segmentation", form, draw, _regions)


async def _drawn(request: Request, kind: str, body: Sampled, draw: Any, finish: Any) -> dict[str, Any] | Response:
    """The answer, whole or as events."""
    if not body.stream:
        return await attended(request, finish(draw(), body))

    async def work(on_step: Any) -> dict[str, Any]:
        found = await finish(draw(on_step=on_step), body)
        return found | found.pop("data")[0]

    return await streamed(request, kind, body.partial_images, work)


async def _regions(drawn: Any, output: Output) -> dict[str, Any]:
    found: Segmentation = await drawn
    regions = [{"colour": list(region.colour), "area": region.area, "box": list(region.box)}
               for region in found.regions]  # fmt: skip
    return _answer(await encoded([found.picture], output.output_format), output) | {"regions": regions}


async def _images(drawn: Any, output: Output) -> dict[str, Any]:
    images: Images = await drawn
    seed = images.pictures[0].settings.get("seed")
    answer = _answer(await encoded(images.pictures, output.output_format), output)
    return answer if seed is None else answer | {"seed": seed}


def _answer(data: list[dict[str, str]], output: Output) -> dict[str, Any]:
    return {"created": int(time.time()), "data": data, "output_format": output.output_format}


async def _form(request: Request, kind: type[Form]) -> tuple[Form, Any, Service]:
    """The fields of a multipart form, its picture, and the service."""
    async with request.form(max_files=1, max_fields=32) as form:
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        if len(form.multi_items()) != len(form):
            raise InputError("a field of the form is there twice; send each once")
        files = {name: value for name, value in form.items() if not isinstance(value, str)}
        if files.keys() - {"image"}:
            raise InputError(f"{sorted(files)}: the only file of this form is `image`")
        body = kind.model_validate(fields)
        held = service(request, body.model)
        return body, await uploaded(files.get("image"), held.settings), held

"""/v1/images/generations, /v1/images/edits, /v1/segment, /v1/reconstruct."""

from __future__ import annotations

import time
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from ..errors import InputError
from ..results import Images
from .attend import attended
from .pictures import encoded, uploaded
from .service import Service, service

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
    guidance_scale: float = 4.5

    def sampling(self, held: Service) -> dict[str, Any]:
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
        small, large = (f"{side}x{side}" for side in held.sides)
        if self.size not in ("auto", small, large):
            raise InputError(f"size={self.size!r} is not drawn by this model; use auto, {small} or {large}")
        return self.sampling(held) | {"num_images": self.n, "negative_prompt": self.negative_prompt,
                                      "native": self.size == large != small}  # fmt: skip


class Painted(Sampled):
    instruction: str | None = None
    seed: int | None = 0


class Again(Output):
    size: int | None = None
    padded: bool = False


@routes.post("/v1/images/generations")
async def generations(request: Request, body: Prompted) -> dict[str, Any]:
    held = service(request, body.model)
    options = body.options(held)
    return await attended(request, _images(held.engine.agenerate(body.prompt, **options, **held.terms()), body))


@routes.post("/v1/images/edits")
async def edits(request: Request) -> dict[str, Any]:
    form, image, held = await _form(request, Prompted)
    options = form.options(held)
    return await attended(request, _images(held.engine.aedit(image, form.prompt, **options, **held.terms()), form))


@routes.post("/v1/reconstruct")
async def reconstruct(request: Request) -> dict[str, Any]:
    form, image, held = await _form(request, Again)
    work = held.engine.areconstruct(image, size=form.size, padded=form.padded, **held.terms())
    return await attended(request, _images(work, form))


@routes.post("/v1/segment")
async def segment(request: Request) -> dict[str, Any]:
    form, image, held = await _form(request, Painted)
    options = form.sampling(held)

    async def work() -> dict[str, Any]:
        found = await held.engine.asegment(image, form.instruction, **options, **held.terms())
        regions = [{"colour": list(region.colour), "area": region.area, "box": list(region.box)}
                   for region in found.regions]  # fmt: skip
        return _answer(await encoded([found.picture], form.output_format), form) | {"regions": regions}

    return await attended(request, work())


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

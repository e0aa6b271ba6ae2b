"""OpenAI's images, speech, transcriptions and videos: billed by tokens where the answer tells them, else by what was
asked.

Text-to-speech answers with sound alone: its older models are billed by the characters of the request, which are
counted here; the newer ones by tokens, which only a streamed answer tells. ``dall-e`` is billed per image, of which
only the number is known; a video by its seconds, which the job tells when it is looked up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from spanledger.instrumentation._answer import Answer, Counted, Endpoint
from spanledger.instrumentation._openai_usage import read_usage
from spanledger.instrumentation._reading import fields, integer, items, snapshot, text
from spanledger.semconv.usage import Usage


def _read_response(response: Mapping[str, Any]) -> Answer:
    usage = response.get("usage")
    images = len(items(response.get("data")))
    return Answer(
        model=text(response.get("model")),
        usage=snapshot(usage) if usage is not None else None,
        counts={"images": images} if images else None,
    )


def _read_transcript(response: Mapping[str, Any]) -> Answer:
    usage = snapshot(response.get("usage"))
    counts: dict[str, int] = {}
    seconds = usage.get("seconds", response.get("duration"))
    if isinstance(seconds, str):  # the older verbose answer
        seconds = float(seconds) if seconds.replace(".", "", 1).isdigit() else None
    if usage.get("type") != "tokens" and isinstance(seconds, (int, float)) and seconds >= 0:
        counts["audio_seconds"] = math.ceil(seconds)  # billed by the second, rounded up
    return Answer(model=text(response.get("model")), usage=usage or None, counts=counts or None)


def _read_image_usage(answer: Answer) -> Counted:
    """Image models generate image tokens; texts are told apart only where the details say so."""
    usage = answer.usage
    if not usage:
        return Counted(usage=Usage(counts=answer.counts or {}, partial=answer.is_partial))
    asked = fields(usage.get("input_tokens_details"))
    made = fields(usage.get("output_tokens_details"))
    inputs, outputs = integer(usage.get("input_tokens")), integer(usage.get("output_tokens"))
    input_image = integer(asked.get("image_tokens")) or None
    output_text = integer(made.get("text_tokens")) or None
    is_consistent = (input_image or 0) <= (inputs or 0) and (output_text or 0) <= (outputs or 0)
    if not is_consistent:
        input_image = output_text = None
    return Counted(
        usage=Usage(
            input_uncached=None if inputs is None else inputs - (input_image or 0),
            input_image=input_image,
            output_image=None if outputs is None else outputs - (output_text or 0),
            output_text=output_text,
            counts=answer.counts or {},
            partial=answer.is_partial,
        ),
        notes=() if is_consistent else ("inconsistent_usage",),
    )


def _read_video(response: Mapping[str, Any]) -> Answer:
    """A video job that is looked up: it witnesses a call once the video is there."""
    seconds = text(response.get("seconds"))
    return Answer(
        model=text(response.get("model")),
        id=text(response.get("id")),
        counts={"output_video_seconds": int(seconds)} if seconds.isdecimal() else None,
        is_billable=response.get("status") == "completed",
    )


class LastEventReader:
    """Reads streams whose last event alone carries the usage (``...completed``, ``...done``)."""

    __slots__ = ("_images", "_usage")

    def __init__(self, _hides_usage: bool, _captures: bool) -> None:
        self._usage: Mapping[str, Any] | None = None
        self._images = 0

    def feed(self, event: Any) -> bool:
        known = fields(event)
        if known.get("usage") is not None:
            self._usage = snapshot(known["usage"])
            self._images += "b64_json" in known
        return False

    def answer(self, *, is_complete: bool) -> Answer:
        is_partial = not is_complete and self._usage is None
        return Answer(
            usage=self._usage,
            counts={"images": self._images} if self._images else None,
            is_partial=is_partial,
            notes=("stream_ended_early",) if is_partial else (),
        )


def _characters(body: Mapping[str, Any]) -> Mapping[str, int] | None:
    spoken = body.get("input")
    return {"input_characters": len(spoken)} if isinstance(spoken, str) else None


IMAGES: Final = Endpoint(
    operation="image_generation",
    read_response=_read_response,
    read_usage=_read_image_usage,
    new_reader=LastEventReader,
)
SPEECH: Final = Endpoint(
    operation="text_to_speech",
    read_response=_read_response,
    read_usage=read_usage,
    new_reader=LastEventReader,
    counts_of_request=_characters,
)
TRANSCRIPTIONS: Final = Endpoint(
    operation="transcription",
    read_response=_read_transcript,
    read_usage=read_usage,
    new_reader=LastEventReader,
)
VIDEOS: Final = Endpoint(
    operation="video_generation",
    read_response=_read_video,
    read_usage=read_usage,
    starts_late=True,
)

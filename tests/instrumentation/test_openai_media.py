"""OpenAI's images, speech and transcriptions."""

from __future__ import annotations

from typing import Any

import pytest

openai = pytest.importorskip("openai")


class Sound:
    """A provider's reply that is no document."""

    def __new__(cls, reply: Any) -> Any:
        class Binary(reply):  # type: ignore[misc]
            content_type = "audio/mpeg"

            def body(self) -> bytes:
                return b"\x00sound" * 100

        return Binary()


def test_images_by_tokens(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    usage = {
        "input_tokens": 400,
        "input_tokens_details": {"image_tokens": 300, "text_tokens": 100},
        "output_tokens": 4000,
        "total_tokens": 4400,
    }
    provider.replies.append(reply({"created": 1790000000, "data": [{"b64_json": "AA=="}], "usage": usage}))
    client = clients.openai(f"{style.prefix}OpenAI")
    style.call(lambda: client.images.generate(model="gpt-image-1", prompt="a blue sky"))
    assert on.span().name == "image_generation gpt-image-1"
    assert on.usage() == {"input_uncached": 100, "input_image": 300, "output_image": 4000, "count.images": 1}
    # 100 x 5 + 300 x 10 + 4000 x 40 USD a million
    assert on.attributes()["spanledger.cost.total"] == "0.1635"
    assert not any("blue sky" in str(value) for value in on.attributes().values())


def test_images_that_are_billed_apiece(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"created": 1790000000, "data": [{"url": "x"}, {"url": "y"}]}))
    clients.openai().images.generate(model="dall-e-2", prompt="a blue sky", n=2)
    assert on.usage() == {"count.images": 2}
    assert "spanledger.cost.total" not in on.attributes()


def test_streamed_images(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 100},
        "output_tokens": 4000,
        "total_tokens": 4100,
    }
    common = {"b64_json": "AA==", "background": "opaque", "created_at": 1, "output_format": "png", "quality": "low"}
    events = [
        {"type": "image_generation.partial_image", "partial_image_index": 0, "size": "auto", **common},
        {"type": "image_generation.completed", "usage": usage, "size": "auto", **common},
    ]
    client = clients.openai(f"{style.prefix}OpenAI")
    try:
        make = client.images.generate
        provider.replies.append(reply(events=events))
        got = style.chunks(lambda: make(model="gpt-image-1", prompt="x", stream=True, partial_images=1))
    except TypeError:
        provider.replies.clear()
        pytest.skip("this SDK does not stream images")
    assert len(got) == 2
    assert on.usage() == {"input_uncached": 100, "output_image": 4000, "count.images": 1}


def test_speech_by_characters(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(Sound(reply))
    client = clients.openai(f"{style.prefix}OpenAI")
    spoken = style.call(lambda: client.audio.speech.create(model="tts-1", voice="alloy", input="x" * 1000))
    assert spoken.content.startswith(b"\x00sound")
    assert on.usage() == {"count.input_characters": 1000}
    assert on.attributes()["spanledger.cost.total"] == "0.015"


def test_speech_that_is_streamed(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(Sound(reply))
    speech = clients.openai().audio.speech.with_streaming_response
    with speech.create(model="tts-1", voice="alloy", input="x" * 10) as response:
        assert on.spans() == []
        assert sum(len(data) for data in response.iter_bytes()) == 600
    assert on.usage() == {"count.input_characters": 10}
    assert "spanledger.notes" not in on.attributes()


def test_speech_that_fails_is_not_billed(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"error": {"message": "no"}}, status=400))
    with pytest.raises(openai.BadRequestError):
        clients.openai().audio.speech.create(model="tts-1", voice="alloy", input="x")
    assert on.usage() == {}


def test_transcriptions_by_tokens(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    usage = {
        "type": "tokens",
        "input_tokens": 500,
        "input_token_details": {"audio_tokens": 480, "text_tokens": 20},
        "output_tokens": 60,
        "total_tokens": 560,
    }
    provider.replies.append(reply({"text": "hello", "usage": usage}))
    client = clients.openai(f"{style.prefix}OpenAI")
    create = client.audio.transcriptions.create
    style.call(lambda: create(model="gpt-4o-transcribe", file=("a.mp3", b"sound", "audio/mpeg")))
    assert on.span().name == "transcription gpt-4o-transcribe"
    assert on.usage() == {"input_uncached": 20, "input_audio": 480, "output_text": 60}


def test_transcriptions_by_duration(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"text": "hello", "usage": {"type": "duration", "seconds": 59.2}}))
    client = clients.openai(f"{style.prefix}OpenAI")
    create = client.audio.transcriptions.create
    style.call(lambda: create(model="whisper-1", file=("a.mp3", b"sound", "audio/mpeg")))
    assert on.usage() == {"count.audio_seconds": 60}
    assert on.attributes()["spanledger.cost.total"] == "0.006"


def test_moderations_are_free(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply({"id": "modr-1", "model": "omni-moderation-latest", "results": []}))
    clients.openai().moderations.create(input="x")
    assert on.spans() == []


needs_videos = pytest.mark.skipif(not hasattr(openai.OpenAI, "videos"), reason="this SDK has no videos")
VIDEO = {
    "id": "video_1",
    "object": "video",
    "created_at": 1790000000,
    "model": "sora-2",
    "progress": 0,
    "seconds": "8",
    "size": "720x1280",
    "status": "queued",
}


@needs_videos
@pytest.mark.filterwarnings("ignore:The Sora API")
def test_a_video_is_a_call_once_it_is_there(on: Any, clients: Any, style: Any, provider: Any, reply: Any) -> None:
    client = clients.openai(f"{style.prefix}OpenAI")
    provider.replies += [reply(VIDEO), reply({**VIDEO, "status": "in_progress"}), reply({**VIDEO, "status": "failed"})]
    style.call(lambda: client.videos.create(model="sora-2", prompt="a blue sky", seconds="8"))
    for _ in range(2):
        style.call(lambda: client.videos.retrieve("video_1"))
    assert on.spans() == []
    provider.replies.append(reply({**VIDEO, "status": "completed", "progress": 100}))
    style.call(lambda: client.videos.retrieve("video_1"))
    assert on.span().name == "video_generation sora-2"
    assert on.usage() == {"count.output_video_seconds": 8}
    assert on.attributes()["gen_ai.response.id"] == "video_1"
    assert "spanledger.cost.total" not in on.attributes()
    assert "blue sky" not in on.span().to_json()


@needs_videos
@pytest.mark.filterwarnings("ignore:The Sora API")
def test_what_is_asked_about_videos_besides(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    client = clients.openai()
    provider.replies += [reply({"object": "list", "data": []}), Sound(reply)]
    client.videos.list()
    client.videos.download_content("video_1")
    assert on.spans() == []

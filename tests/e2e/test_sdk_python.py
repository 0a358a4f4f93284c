# SPDX-License-Identifier: Apache-2.0
"""The official Python SDK, unmodified, through Postern to the mock model: every client class to every upstream dialect."""
import asyncio
import base64
import io
import struct

import openai
import pydantic
import pytest
from conftest import API_VERSION, DIALECTS, MODELS, STATUSES
from harness.process import CANARY_CLIENT_KEY, CANARY_PROMPT

TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "the weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}}}
SAY = [{"role": "user", "content": CANARY_PROMPT}]
CLIENTS = {
    "OpenAI": lambda url: openai.OpenAI(base_url=f"{url}/v1", api_key=CANARY_CLIENT_KEY, max_retries=0),
    "AzureOpenAI": lambda url: openai.AzureOpenAI(azure_endpoint=url, api_key=CANARY_CLIENT_KEY, api_version=API_VERSION,
                                                  max_retries=0),
    "Azure v1": lambda url: openai.OpenAI(base_url=f"{url}/openai/v1/", api_key=CANARY_CLIENT_KEY, max_retries=0),
}
ASYNC_CLIENTS = {
    "AsyncOpenAI": lambda url: openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=CANARY_CLIENT_KEY, max_retries=0),
    "AsyncAzureOpenAI": lambda url: openai.AsyncAzureOpenAI(azure_endpoint=url, api_key=CANARY_CLIENT_KEY,
                                                            api_version=API_VERSION, max_retries=0),
}


class Person(pydantic.BaseModel):
    name: str
    age: int
    tags: list[str]


@pytest.fixture(params=CLIENTS)
def client(request, every_dialect):
    with CLIENTS[request.param](every_dialect.base_url) as made:
        yield made


@pytest.fixture(params=DIALECTS)
def model(request):
    return request.param


def test_chat(client, model):
    answer = client.chat.completions.create(model=model, messages=SAY)
    assert CANARY_PROMPT in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer._request_id


def test_chat_with_tools(client, model):
    answer = client.chat.completions.create(model=model, messages=SAY, tools=[TOOL], tool_choice="required")
    call = answer.choices[0].message.tool_calls[0]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "get_weather" and '"city"' in call.function.arguments


def test_structured_output(client, model):
    answer = client.chat.completions.parse(model=model, messages=SAY, response_format=Person)
    assert isinstance(answer.choices[0].message.parsed, Person)


def test_chat_stream(client, model):
    text, finish = "", None
    with client.chat.completions.create(model=model, messages=SAY, stream=True) as stream:
        for chunk in stream:
            # Nobody asked for usage: neither numbers nor the extra chunk may show.
            assert chunk.usage is None
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
    assert CANARY_PROMPT in text and finish == "stop"


def test_chat_stream_with_usage(client, model):
    chunks = list(client.chat.completions.create(model=model, messages=SAY, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 0
    assert sum(1 for chunk in chunks if chunk.usage) == 1


def test_chat_stream_with_tools(client, model):
    name, arguments = "", ""
    for chunk in client.chat.completions.create(model=model, messages=SAY, tools=[TOOL], tool_choice="required", stream=True):
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or []:
                name += call.function.name or ""
                arguments += call.function.arguments or ""
    assert name == "get_weather" and '"city"' in arguments


def test_embeddings(client, model):
    """The SDK asks for base64 by itself and decodes it; asked for floats, the same numbers come."""
    packed = client.embeddings.create(model=model, input=["one", "two"], dimensions=64)
    plain = client.embeddings.create(model=model, input=["one", "two"], dimensions=64, encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [64, 64]
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert packed.data[0].embedding != packed.data[1].embedding


def test_embeddings_as_base64(client, model):
    raw = client.embeddings.with_raw_response.create(model=model, input="x", dimensions=8, encoding_format="base64")
    coded = raw.http_response.json()["data"][0]["embedding"]
    assert len(struct.unpack("<8f", base64.b64decode(coded))) == 8


def test_responses(client, model):
    answer = client.responses.create(model=model, input=CANARY_PROMPT, store=False)
    assert CANARY_PROMPT in answer.output_text and answer.usage.total_tokens > 0


def test_responses_stream(client, model):
    text, events = "", []
    with client.responses.create(model=model, input=CANARY_PROMPT, stream=True, store=False) as stream:
        for event in stream:
            events.append(event.type)
            if event.type == "response.output_text.delta":
                text += event.delta
    assert events[0] == "response.created" and events[-1] == "response.completed"
    assert CANARY_PROMPT in text


def test_transcription(client, model):
    answer = client.audio.transcriptions.create(model=model, file=("speech.wav", io.BytesIO(b"RIFF" + bytes(200_000))))
    assert answer.text


def test_speech(client, model):
    answer = client.audio.speech.create(model=model, voice="alloy", input="hi", response_format="wav")
    assert answer.read().startswith(b"RIFF")


def test_image(client, model):
    answer = client.images.generate(model=model, prompt=CANARY_PROMPT, response_format="b64_json")
    assert base64.b64decode(answer.data[0].b64_json).startswith(b"\x89PNG")


def test_models(client):
    assert {entry.id for entry in client.models.list()} == set(MODELS)


# What the upstream answers -> what the application sees. A refusal of Postern's own credential is not the client's fault.
ERRORS = {
    400: openai.BadRequestError, 401: openai.InternalServerError, 403: openai.InternalServerError, 404: openai.NotFoundError,
    409: openai.ConflictError, 422: openai.UnprocessableEntityError, 429: openai.RateLimitError, 500: openai.InternalServerError,
    503: openai.InternalServerError,
}


@pytest.mark.parametrize("status", STATUSES)
def test_errors(client, status):
    with pytest.raises(ERRORS[status]) as raised:
        client.chat.completions.create(model=f"status-{status}", messages=SAY)
    assert raised.value.status_code == (502 if status in (401, 403) else status)
    assert raised.value.request_id
    assert isinstance(raised.value.body, dict) and raised.value.body["message"]


def test_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="nobody-has-this", messages=SAY)
    assert raised.value.code == "model_not_found"


@pytest.mark.parametrize("kind", ASYNC_CLIENTS)
def test_async(every_dialect, kind, model):
    """Many at once over one client, streamed and not."""
    async def run():
        async with ASYNC_CLIENTS[kind](every_dialect.base_url) as client:
            async def chat():
                answer = await client.chat.completions.create(model=model, messages=SAY)
                return answer.choices[0].message.content

            async def streamed():
                text = ""
                async for chunk in await client.chat.completions.create(model=model, messages=SAY, stream=True):
                    for choice in chunk.choices:
                        text += choice.delta.content or ""
                return text

            async def responses():
                text = ""
                async for event in await client.responses.create(model=model, input=CANARY_PROMPT, stream=True, store=False):
                    text += event.delta if event.type == "response.output_text.delta" else ""
                return text

            async def embedded():
                answer = await client.embeddings.create(model=model, input=CANARY_PROMPT)
                return CANARY_PROMPT * len(answer.data)

            return await asyncio.gather(*(ask() for ask in (chat, streamed, responses, embedded) for _ in range(5)))

    assert all(CANARY_PROMPT in text for text in asyncio.run(run()))

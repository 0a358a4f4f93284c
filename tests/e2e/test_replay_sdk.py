# SPDX-License-Identifier: Apache-2.0
"""
Replayed answers (tests/support/replay) read by the official SDKs: what their accumulators make of a stream is what they parse
from the JSON answer, whichever of the two the upstream sent. tests/unit/openai/replay_golden_test.c holds the files to the code.
"""
import http.server
import json
import pathlib
import shutil
import subprocess
import threading
import typing

import openai
import openai.types.responses
import pytest
from harness.wire import TIMEOUT

FOLDER = pathlib.Path(__file__).parents[1] / "support" / "replay"
SCRIPT = pathlib.Path(__file__).parent / "node" / "replay.mjs"
CHAT = ["chat_text", "chat_tools", "chat_choices", "chat_refusal", "chat_azure", "chat_reasoning", "chat_function_call",
        "chat_annotations"]
RESPONSES = ["responses_items", "responses_incomplete", "responses_tools"]
ASK = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
# Which of the two forms Postern made.
FROM = {"JSON": {"json": "json", "sse": "replayed.sse"}, "events": {"json": "replayed.json", "sse": "sse"}}
# Members of a choice that the SDKs' accumulators do not take over from later chunks of any stream.
NOT_ACCUMULATED = ("content_filter_results", "stop_reason", "token_ids")


class Handler(http.server.BaseHTTPRequestHandler):
    """POST /{events or JSON}/{name}/...: that answer, in the form that the body asks for."""
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        _, origin, name, *_ = self.path.split("/")
        form = "sse" if asked.get("stream") else "json"
        body = (FOLDER / f"{name}.{FROM[origin][form]}").read_bytes()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if asked.get("stream") else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def url():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=FROM)
def client(request, url):
    def make(name):
        return openai.OpenAI(base_url=f"{url}/{request.param}/{name}", api_key="k", max_retries=0)
    return make


def said(value):
    """What an SDK's object says, without what it adds, and without the difference between null and absent."""
    if isinstance(value, dict):
        return {name: said(member) for name, member in value.items()
                if member is not None and name not in ("parsed", "parsed_arguments", *NOT_ACCUMULATED)}
    if isinstance(value, str):  # Python keeps the halves apart of a character whose escapes came in two chunks
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    return [said(element) for element in value] if isinstance(value, list) else value


def made_here(client):
    """Whether the stream is Postern's and not the upstream's."""
    return "/JSON/" in str(client.base_url)


@pytest.mark.parametrize("name", CHAT)
def test_chat(client, name):
    made = client(name)
    wanted = said(made.chat.completions.create(**ASK).to_dict())
    with made.chat.completions.stream(**ASK, stream_options={"include_usage": True}) as stream:
        got = said(stream.until_done().current_completion_snapshot.to_dict())
    for choice in got["choices"]:
        for call in choice["message"].get("tool_calls", []):
            del call["index"]
    if name == "chat_azure" and not made_here(made):
        # The SDK drops Azure's own first event, which has neither id nor object.
        del wanted["prompt_filter_results"]
    if name == "chat_refusal" and not got["choices"][0]["message"].get("content"):
        got["choices"][0]["message"].pop("content", None)
    assert got == wanted


@pytest.mark.parametrize("name", CHAT)
def test_chunks_carry_what_the_accumulator_leaves_out(client, name):
    made = client(name)
    answer = made.chat.completions.create(**ASK)
    seen, prompt = {}, None
    for chunk in made.chat.completions.create(**ASK, stream=True):
        prompt = getattr(chunk, "prompt_filter_results", None) or prompt
        for choice in chunk.choices:
            for member in NOT_ACCUMULATED:
                value = (choice.model_extra or {}).get(member)
                if isinstance(value, list):
                    seen[member] = seen.get(member, []) + value
                elif isinstance(value, dict):
                    seen.setdefault(member, {}).update(value)
                elif value is not None:
                    seen[member] = value
    extra = answer.choices[0].model_extra or {}
    assert prompt == getattr(answer, "prompt_filter_results", None)
    assert seen.keys() == extra.keys() & set(NOT_ACCUMULATED)
    assert all(seen[member].keys() == extra[member].keys() if isinstance(extra[member], dict) else seen[member] == extra[member]
               for member in seen)


def test_completions(client):
    made = client("completions")
    answer = made.completions.create(model="m", prompt="x")
    text, finish, tokens, usage = {}, {}, {}, None
    for chunk in made.completions.create(model="m", prompt="x", stream=True):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text[choice.index] = text.get(choice.index, "") + choice.text
            finish[choice.index] = choice.finish_reason or finish.get(choice.index)
            if choice.logprobs:
                tokens[choice.index] = tokens.get(choice.index, []) + choice.logprobs.tokens
    assert usage == answer.usage
    for choice in answer.choices:
        assert (text[choice.index], finish[choice.index], tokens[choice.index]) == (
            choice.text, choice.finish_reason, choice.logprobs.tokens)


@pytest.mark.parametrize("name", RESPONSES)
def test_responses(client, name):
    made = client(name)
    answer = made.responses.create(model="m", input="x")
    text, arguments, refusal, items, numbers, last = "", "", "", [], [], None
    with made.responses.stream(model="m", input="x") as stream:
        for event in stream:
            numbers.append(event.sequence_number)
            text += event.delta if event.type == "response.output_text.delta" else ""
            arguments += event.delta if event.type == "response.function_call_arguments.delta" else ""
            refusal += event.delta if event.type == "response.refusal.delta" else ""
            if event.type == "response.output_item.done":
                items.append(event.item.to_dict())
            last = event
    assert last.type == f"response.{answer.status}"
    assert said(last.response.to_dict()) == said(answer.to_dict())
    assert said(items) == said([item.to_dict() for item in answer.output])
    assert numbers == list(range(len(numbers)))
    assert text == answer.output_text
    calls = "".join(item.arguments for item in answer.output if item.type == "function_call")
    parts = [part for item in answer.output if item.type == "message" for part in item.content]
    if made_here(made):  # the recorded streams leave out some deltas
        assert arguments == calls
        assert refusal == "".join(part.refusal for part in parts if part.type == "refusal")


def events(name):
    """What the data lines of a stream of Postern's hold."""
    lines = (FOLDER / f"{name}.replayed.sse").read_text().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def declared_as(name, event):
    """The SDK's class of an event."""
    if name == "completions":
        return openai.types.Completion
    if name in CHAT:
        return openai.types.chat.ChatCompletionChunk
    union = typing.get_args(typing.get_args(openai.types.responses.ResponseStreamEvent)[0])
    return next(kind for kind in union if typing.get_args(kind.model_fields["type"].annotation) == (event["type"],))


@pytest.mark.parametrize("name", CHAT + RESPONSES + ["completions"])
def test_events_have_every_member_that_the_sdk_declares(name):
    """Strictly: the SDK itself takes what comes, and notices what is missing only where it is used."""
    for event in events(name):
        if name == "chat_tools" and '"custom"' in json.dumps(event):
            continue  # not declared for streams
        if name == "responses_tools" and "some_future_call" in json.dumps(event):
            continue  # nor is this
        for choice in event["choices"] if name == "completions" else []:
            choice["finish_reason"] = choice["finish_reason"] or "stop"  # null in the API's own chunks, too
        declared_as(name, event).model_validate(event)


@pytest.mark.parametrize("name", CHAT + RESPONSES)
@pytest.mark.parametrize("origin", FROM)
def test_node_sdk(url, origin, name):
    if not shutil.which("node"):
        pytest.skip("node is not here")
    done = subprocess.run(["node", str(SCRIPT), f"{url}/{origin}/{name}", name], capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr

# SPDX-License-Identifier: Apache-2.0
"""Bodies as OpenAI, Azure OpenAI and vLLM send them, for scripted upstreams."""
import json

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def chat(text="Hello.", model="m", usage=None):
    return json.dumps({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text, "refusal": None},
                     "logprobs": None, "finish_reason": "stop"}],
        "usage": usage or USAGE})


def event(data):
    """One SSE event; a dictionary becomes compact JSON."""
    return f"data: {data if isinstance(data, str) else json.dumps(data, separators=(',', ':'))}\n\n"


def chunk(delta=None, finish=None, usage="absent", choices=None):
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m"}
    body["choices"] = [{"index": 0, "delta": delta or {}, "finish_reason": finish}] if choices is None else choices
    if usage != "absent":
        body["usage"] = usage
    return event(body)


def chat_stream(words=("Hel", "lo"), with_usage=True):
    """The events of a whole chat stream, as a list of texts."""
    usage = None if with_usage else "absent"
    events = [chunk({"role": "assistant", "content": ""}, usage=usage)]
    events += [chunk({"content": word}, usage=usage) for word in words]
    events.append(chunk({}, "stop", usage=usage))
    if with_usage:
        events.append(chunk(choices=[], usage=USAGE))
    return [*events, event("[DONE]")]


def error(message="no", kind="server_error", code=None, param=None):
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def ask(model="gpt-4o", stream=False, text="hi", **more):
    """The body of a chat request."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    if stream:
        body["stream"] = True
    return json.dumps(body)

"""What the scripted upstream says, in each protocol: the whole answer, its events, its errors."""

import json

# What every good answer says. A client that shows anything else has got a wrong answer.
TEXT = "hello from the upstream"
MODEL = "scripted-model"
HALVES = (TEXT[:10], TEXT[10:])


def kind_of(path):
    """What is asked for, by the path without its query."""
    return {
        "/v1/messages": "messages",
        "/v1/messages/count_tokens": "count_tokens",
        "/v1/chat/completions": "chat",
        "/v1/responses": "responses",
        "/v1/models": "models",
    }.get(path)


def whole(kind, model):
    """The answer in one piece."""
    return {
        "messages": lambda: message(model, [{"type": "text", "text": TEXT}]),
        "count_tokens": lambda: {"input_tokens": 7},
        "chat": lambda: completion(model, {"message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}),
        "responses": lambda: response(model, "completed", [output_item("completed", TEXT)]),
        "models": model_list,
    }[kind]()


def events(kind, model):
    """The answer as events: those before its content, its content, its ending."""
    return {"messages": of_messages, "chat": of_chat, "responses": of_responses}[kind](model)


def overload_event(kind, model):
    """The event that says, inside a 200, that the endpoint is overloaded."""
    if kind == "messages":
        return sse(anthropic_error("overloaded_error", "Overloaded"))
    error = {"code": "server_is_overloaded", "message": "Our servers are overloaded. Try again later."}
    if kind == "chat":
        return sse({"error": {**error, "type": "server_error", "param": None}}, name=None)
    failed = {**response(model, "failed", []), "error": error}
    return sse({"type": "response.failed", "sequence_number": 1, "response": failed})


def error(kind, status):
    """The body of an error with this status, in the protocol of the call."""
    if kind in ("messages", "count_tokens", "models"):
        name = {401: "authentication_error", 429: "rate_limit_error"}.get(status, "overloaded_error")
        return anthropic_error(name, f"scripted {status}")
    code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status, "server_is_overloaded")
    return {"error": {"message": f"scripted {status}", "type": "server_error", "param": None, "code": code}}


def sse(data, name="type"):
    """One event; a chunk of OpenAI's chat has no name."""
    head = f"event: {data[name]}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def anthropic_error(name, message_text):
    return {"type": "error", "error": {"type": name, "message": message_text}, "request_id": "req_scripted"}


def message(model, content):
    usage = {"input_tokens": 7, "output_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": "end_turn" if content else None,
        "stop_sequence": None,
        "usage": usage,
    }


def of_messages(model):
    def delta(text):
        return sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})

    before = [
        sse({"type": "message_start", "message": message(model, [])}),
        sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        sse({"type": "ping"}),
    ]
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    ending = [
        sse({"type": "content_block_stop", "index": 0}),
        sse({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 5}}),
        sse({"type": "message_stop"}),
    ]
    return before, [delta(text) for text in HALVES], ending


def completion(model, choice, name="chat.completion"):
    return {
        "id": "chatcmpl-scripted",
        "object": name,
        "created": 1_760_000_000,
        "model": model,
        "choices": [{"index": 0, "finish_reason": None, **choice}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }


def of_chat(model):
    def chunk(delta, finish_reason=None):
        choice = {"delta": delta, "finish_reason": finish_reason}
        return sse(completion(model, choice, "chat.completion.chunk"), name=None)

    content = [chunk({"content": text}) for text in HALVES]
    return [chunk({"role": "assistant", "content": ""})], content, [chunk({}, "stop"), b"data: [DONE]\n\n"]


def response(model, status, output):
    usage = {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12,
    }
    return {
        "id": "resp_scripted",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": status,
        "model": model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "usage": usage if status == "completed" else None,
    }


def output_item(status, text=None):
    content = [] if text is None else [text_part(text)]
    return {"id": "msg_scripted", "type": "message", "role": "assistant", "status": status, "content": content}


def text_part(text):
    return {"type": "output_text", "text": text, "annotations": []}


def of_responses(model):
    place = {"item_id": "msg_scripted", "output_index": 0, "content_index": 0}
    numbers = iter(range(100))

    def event(name, **members):
        return sse({"type": name, "sequence_number": next(numbers), **members})

    before = [
        event("response.created", response=response(model, "in_progress", [])),
        event("response.output_item.added", output_index=0, item=output_item("in_progress")),
        event("response.content_part.added", **place, part=text_part("")),
    ]
    content = [event("response.output_text.delta", **place, delta=text, logprobs=[]) for text in HALVES]
    done = output_item("completed", TEXT)
    ending = [
        event("response.output_text.done", **place, text=TEXT, logprobs=[]),
        event("response.content_part.done", **place, part=text_part(TEXT)),
        event("response.output_item.done", output_index=0, item=done),
        event("response.completed", response=response(model, "completed", [done])),
    ]
    return before, content, ending


def model_list():
    # Both vendors' members at once: the path doesn't tell whose client asks.
    model = {
        "type": "model",
        "id": MODEL,
        "display_name": "Scripted",
        "created_at": "2026-01-01T00:00:00Z",
        "object": "model",
        "created": 1_760_000_000,
        "owned_by": "nobody",
    }
    return {
        "object": "list",
        "data": [model],
        "has_more": False,
        "first_id": MODEL,
        "last_id": MODEL,
    }

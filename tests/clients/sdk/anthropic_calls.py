"""One call with the Anthropic SDK for Python; prints the text that a program would get."""

import sys

import anthropic

ASKED = {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "say hi"}]}


def whole(client):
    return "".join(block.text for block in client.messages.create(**ASKED).content)


def stream(client):
    deltas = (event for event in client.messages.create(**ASKED, stream=True) if event.type == "content_block_delta")
    return "".join(event.delta.text for event in deltas)


def helper(client):
    with client.messages.stream(**ASKED) as answer:
        return answer.get_final_text()


def small(client):
    counted = client.messages.count_tokens(model=ASKED["model"], messages=ASKED["messages"])
    models = [model.id for model in client.models.list()]
    return f"{counted.input_tokens} tokens, {models}"


print({"whole": whole, "stream": stream, "helper": helper, "small": small}[sys.argv[1]](anthropic.Anthropic()))

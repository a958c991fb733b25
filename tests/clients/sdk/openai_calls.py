"""One call with the OpenAI SDK for Python; prints the text that a program would get."""

import sys

import openai

CHAT = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "say hi"}]}
RESPONSE = {"model": "gpt-5-mini", "input": "say hi"}


def whole(client):
    return client.chat.completions.create(**CHAT).choices[0].message.content


def stream(client):
    chunks = client.chat.completions.create(**CHAT, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def responses(client):
    return client.responses.create(**RESPONSE).output_text


def responses_stream(client):
    text = ""
    for event in client.responses.create(**RESPONSE, stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
        elif event.type == "response.failed":
            # The SDK hands it on as any other event; a program has to look.
            sys.exit(f"response.failed: {event.response.error.code}")
    return text


def small(client):
    return str([model.id for model in client.models.list()])


calls = {
    "whole": whole,
    "stream": stream,
    "responses": responses,
    "responses-stream": responses_stream,
    "small": small,
}
print(calls[sys.argv[1]](openai.OpenAI()))
